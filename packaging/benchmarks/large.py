"""A large OME-Zarr through predict: peak memory, time per megapixel, killed and resumed.

Usage: python large.py FOLDER [--side 20000] [--reference 2048] [--memory 2GB] [--profile fast]
       [--json FILE]

A network of a few channels: what is measured is the runtime, not the network.
Three runs of the same command: whole; killed at 30 % and 70 % of the blocks, then finished; and a
smaller image for comparison.
"""

import argparse
import hashlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from bmz_ddpm.config import Intensity, TrainConfig
from bmz_ddpm.data.ome_zarr_write import create_level, regions, write_metadata
from bmz_ddpm.train.checkpoint import build_denoiser, describe_model, save_tensors

COMMAND = [sys.executable, "-c", "from bmz_ddpm.cli.main import main; main()", "predict"]


def write_network(path: Path) -> None:
    """Write an untrained network of four channels."""
    torch.manual_seed(0)
    grey = Intensity(
        input_offset=2000, input_scale=2000, output_offset=2000, output_scale=2000, low=0, high=4000
    )
    config = describe_model(TrainConfig(size="tiny", steps=1), 1, 1, grey)
    small = {"channels": 4, "multipliers": [1], "num_blocks": 1, "attention": False, "stem": 4}
    config = config.model_copy(update={"network": config.network | small})
    denoiser = build_denoiser(config)
    denoiser.out_gain.data.fill_(0.5)
    save_tensors(path, denoiser.state_dict(), {"model": config.model_dump(), "info": {}})


def write_image(path: Path, side: int) -> None:
    """Write photons of a pattern, 16 bit, in chunks of 1024 pixels."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = create_level(group, 0, "yx", (side, side), 1024, np.uint16)
    rng = np.random.default_rng(0)
    for _, y, x in regions((side, side), 1024):
        rows, columns = np.arange(y.start, y.stop), np.arange(x.start, x.stop)
        light = 100 + 80 * np.sin(rows / 9)[:, None] * np.cos(columns / 7)[None]
        array[y, x] = rng.poisson(light) * 10
    write_metadata(path, "yx", {"pixel_size": (0.1, 0.1)}, path.name, "0.5", [0], (0, 4000))


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all results."""
    total = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and "_run.json" not in p.name):
        total.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return total.hexdigest()


def predict(
    image: Path, out: Path, options: list[str], kill_at: float = 1.0, count: int = 0
) -> dict:
    """Run the command, or kill it when a share of the blocks is finished; return what it used."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    model = str(image.parent / "network.safetensors")
    process = subprocess.Popen(
        [*COMMAND, model, str(image), "--out", str(out), *options], stdout=subprocess.DEVNULL
    )
    log, peak = out / f"{image.name.partition('.')[0]}.unfinished" / "finished.txt", 0
    while process.poll() is None:
        time.sleep(0.5)
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        except (OSError, IndexError):
            pass
        if kill_at < 1 and log.exists() and len(log.read_text().splitlines()) >= kill_at * count:
            process.send_signal(signal.SIGKILL)
            process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "exit": process.returncode,
        "seconds": time.monotonic() - start,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": peak / 1e6,
    }


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=20000)
    parser.add_argument("--reference", type=int, default=2048)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--profile", default="fast")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = ["--profile", options.profile, "--memory", options.memory]
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_network(folder / "network.safetensors")
    lines = {}
    for name, side in (("small", 64), ("reference", options.reference), ("large", options.side)):
        write_image(folder / f"{name}.ome.zarr", side)
        used = predict(folder / f"{name}.ome.zarr", folder / f"{name}_out", chosen)
        lines[name] = {"side": side, **used}
        print(name, json.dumps(lines[name]), flush=True)
    for name in ("reference", "large"):  # without what starting costs
        used = lines[name]["cpu_seconds"] - lines["small"]["cpu_seconds"]
        lines[name]["cpu_seconds_per_megapixel"] = used / (lines[name]["side"] ** 2 / 1e6)
        print(name, lines[name]["cpu_seconds_per_megapixel"], flush=True)
    record = json.loads((folder / "large_out" / "large_run.json").read_text())
    blocks = math.ceil(options.side / record["job"]["block"]) ** 2
    for share in (0.3, 0.7, 1.0):
        image, out = folder / "large.ome.zarr", folder / "killed_out"
        lines[f"until {share:.0%}"] = predict(image, out, chosen, share, blocks)
        print(share, json.dumps(lines[f"until {share:.0%}"]), flush=True)
    lines["equal"] = digest(folder / "large_out") == digest(folder / "killed_out")
    print("same hash as uninterrupted:", lines["equal"], os.cpu_count(), "cores", flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
