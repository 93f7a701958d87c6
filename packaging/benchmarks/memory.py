"""How much memory does `bmz-ddpm evaluate` take for 100, 1000 and 10,000 images?

Usage: python memory.py [--counts N …] [--side 32]

Drawn images and predictions, of which one is cut off: it has to be named, and the rest scored.
Every count is a process of its own; printed are its peak (resident memory, with Python and all
libraries), its seconds, and what it says about the broken file. LPIPS and MS-SSIM do not apply to
images this small.
"""

import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

BROKEN = 7


def write_images(folder: Path, count: int, side: int) -> None:
    """Write pairs and predictions, the latter with one broken file."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    lines = ["low,high,fov,split"]
    for kind in ("low", "high", "made"):
        (folder / kind).mkdir()
    for i in range(count):
        clean = 110 + 90 * np.sin(y / 5 + i) * np.cos(x / 4)
        images = {"low": rng.poisson(clean), "high": clean, "made": clean + rng.normal(0, 3)}
        for kind, image in images.items():
            path = folder / kind / f"{i:05}.tif"
            tifffile.imwrite(path, np.clip(image, 0, 255).astype(np.uint8))
        lines.append(f"low/{i:05}.tif,high/{i:05}.tif,{i // 10},val")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    broken = folder / "made" / f"{BROKEN:05}.tif"
    broken.write_bytes(broken.read_bytes()[:100])


def measure(count: int, side: int) -> None:
    """Evaluate in a process of its own; print what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, count, side)
        program = [sys.executable, "-c", "from bmz_ddpm.cli.main import main; main()"]
        words = ["evaluate", "pairs.csv", "--predictions", "made", "--no-images"]
        start = time.monotonic()
        done = subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True)
        seconds = time.monotonic() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        report = json.loads((folder / "evaluation" / "evaluation.json").read_text())
        with (folder / "evaluation" / "metrics.csv").open(newline="") as stream:
            scored = len({row["image"] for row in csv.DictReader(stream)})
    failed = [failure["image"] for failure in report["failed"]]
    assert (done.returncode, scored, failed) == (1, count - 1, [f"{BROKEN:05}"])
    print(
        f"{count} images: peak {peak:.0f} MiB, {seconds:.0f} s; {scored} scored, "
        f"failed: {', '.join(failed)}",
        flush=True,
    )


def main() -> None:
    """Measure every count; the peak of children is that of the largest, so each has its parent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--side", type=int, default=32)
    options = parser.parse_args()
    print("threads", os.environ.get("OMP_NUM_THREADS", "all"))
    for count in options.counts:
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(count, options.side)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
