"""Seconds per megapixel of a package, in the engines that are installed here.

Usage: python cost.py PACKAGE.zip [--repeat 3] [--machine "2 cores …"]

The image is 512 x 512 pixels of noise; its tiles and their halos are part of the time.
Engines take turns; the median counts. Prints [[speed]] entries for the about.toml of a recipe.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from bmz_ddpm import SamplerSettings, denoise, load_model

SIDE = 512  # as many tiles per megapixel as a larger image


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores ({platform.machine()})")
    options = parser.parse_args()
    unused = SamplerSettings(1, 1, 0.0)  # a package has its own
    names = {"onnx": "ONNX Runtime", "torchscript": "TorchScript"}
    models = {n: load_model(options.package, unused, n, options.device) for n in names}
    photons = np.random.default_rng(0).poisson(20, (SIDE, SIDE)).astype(np.float32)
    image = xr.DataArray(photons, dims=("y", "x"))
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options.repeat):
        for name, model in models.items():
            assert model.tiling is not None
            start = time.monotonic()
            denoise(image, model.backend, model.tiling)
            seconds[name].append((time.monotonic() - start) / (SIDE**2 / 1e6))
    machine = f"{options.machine}, {torch.get_num_threads()} threads"
    for name, times in seconds.items():
        print(f'[[speed]]\nmachine = "{machine}"\nengine = "{names[name]}"')
        print(f"seconds_per_megapixel = {statistics.median(times):.0f}\n")


if __name__ == "__main__":
    main()
