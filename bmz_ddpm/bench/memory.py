"""Peak memory of a sampler, each time in a process of its own.

``python -m bmz_ddpm.bench.memory FILE SIDE CHANNELS`` prints two numbers: MiB after loading, and at
the peak. The process imports the engine and nothing that the others need.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def peak_memory(path: Path, side: int, channels: int, threads: int) -> tuple[float, float]:
    """Run a sampler on one tile and return MiB of its process after loading, and at the peak.

    Parameters
    ----------
    path : Path
        A .pt or .onnx file.
    side : int
        Of the tile, in pixels.
    """
    command = [sys.executable, "-m", __name__, str(path), str(side), str(channels), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, peak = (float(word) for word in done.stdout.split()[-2:])
    return loaded, peak


def _used() -> float:
    """Return the most MiB that this program has held until now."""
    status = Path("/proc/self/status")
    if status.exists():  # a process inherits `ru_maxrss` from whoever started it, but not this
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _measure(path: str, side: int, channels: int, threads: int) -> None:
    import torch

    from ..runtime.backends import onnx_backend, torchscript_backend
    from .engines import photons

    torch.set_num_threads(threads)
    load = onnx_backend if path.endswith(".onnx") else torchscript_backend
    backend = load(Path(path))
    loaded = _used()
    backend(photons(channels, side))
    print(loaded, _used())


if __name__ == "__main__":
    _measure(sys.argv[1], *(int(word) for word in sys.argv[2:]))
