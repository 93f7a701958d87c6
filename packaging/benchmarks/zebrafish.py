"""How good is the model on the zebrafish field, against what it has to beat?

Usage: python zebrafish.py [--sampler ddim:log_snr:4x16 …] [--json FILE]
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import xarray as xr

from bmz_ddpm import Checkpoint, SamplerSettings, Tiling, denoise, read_image
from bmz_ddpm.data.noise import fit_noise
from bmz_ddpm.errors import MissingDependency
from bmz_ddpm.evaluate.classical import best_gaussian, bm3d_stabilised
from bmz_ddpm.evaluate.metrics import fitted, mae, ms_ssim, psnr, spread_over_skill
from bmz_ddpm.runtime.backends import torch_backend

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "packaging" / "recipes" / "fmd-confocal"
CHECKPOINT = REPOSITORY / "zoo_models" / "fmd-confocal" / "checkpoint.safetensors"
DEFAULT = ["ddim:log_snr:4x1", "ddim:log_snr:4x16"]


def settings_of(text: str) -> SamplerSettings:
    """Read SAMPLER:SPACING:STEPSxSAMPLES[:plain]; "plain" draws no mirror images."""
    sampler, spacing, size, *plain = text.split(":")
    steps, samples = (int(n) for n in size.split("x"))
    return SamplerSettings(steps, samples, {"ddpm": 1.0, "ddim": 0.0}[sampler], spacing, not plain)  # type: ignore[arg-type]


def row(name: str, truth: np.ndarray, image: np.ndarray, **more: float) -> dict[str, object]:
    """Score an image; print and return the line."""
    line: dict[str, object] = {
        "image": name,
        "mae": mae(truth, image),
        "psnr": psnr(truth, image),
        "fitted_psnr": psnr(truth, fitted(truth, image)),
        "ms_ssim": ms_ssim(truth, image),
    } | more
    shown = " ".join(f"{k} {v:.3f}" for k, v in line.items() if isinstance(v, float))
    print(f"{name:32} {shown}", flush=True)
    return line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--sampler", nargs="*", default=DEFAULT)
    parser.add_argument("--raw", type=Path, default=RECIPE / "zebrafish_raw.tif")
    parser.add_argument("--reference", type=Path, default=RECIPE / "zebrafish_reference.tif")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raw = read_image(options.raw).values.astype(np.float32)
    truth = read_image(options.reference).values.astype(np.float32)
    lines = [row("raw", truth, raw)]
    blurred, sigma = best_gaussian(raw, truth)
    lines.append(row(f"best blur (sigma {sigma:.1f})", truth, blurred))
    # the noise of this very field, fitted on the truth: the most favourable case for BM3D
    noise = fit_noise([(raw, truth)])
    try:
        clean = bm3d_stabilised(raw, noise)
        lines.append(row(f"BM3D (gain {noise.gain:.1f})", truth, clean))
    except MissingDependency as error:
        print(f"{'BM3D':32} n/a: {error}")
    checkpoint = Checkpoint.load(options.checkpoint)
    for text in options.sampler:
        settings = settings_of(text)
        backend = torch_backend(checkpoint.sampler(settings))
        start = time.monotonic()
        result = denoise(xr.DataArray(raw, dims=("y", "x")), backend, Tiling(576, 32))
        seconds = time.monotonic() - start
        denoised, std = result["denoised"].values, result["std"].values
        ratio = spread_over_skill(truth, denoised, std, settings.num_samples)
        lines.append(row(text, truth, denoised, spread_over_skill=ratio, seconds=seconds))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
