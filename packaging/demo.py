"""The main job of `make demo`: export, test, predict, look.

Usage: python packaging/demo.py OUT

Exports the shipped checkpoint to a package, runs `bioimageio test` on it, denoises a real
zebrafish image (which the model has never seen) with `bioimageio predict`, and prints where the
results are. Everything is done with the commands that a user would type.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bmz_ddpm import read_image
from bmz_ddpm.display.scale import eight_bit
from bmz_ddpm.evaluate.classical import best_gaussian
from bmz_ddpm.evaluate.metrics import ms_ssim, psnr
from bmz_ddpm.package.cover import side_by_side

REPOSITORY = Path(__file__).parent.parent
RECIPE = REPOSITORY / "packaging" / "recipes" / "fmd-confocal"
CHECKPOINT = REPOSITORY / "zoo_models" / "fmd-confocal" / "checkpoint.safetensors"
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    """Run a command of this environment; say how long it took; stop if it fails."""
    print(f"\n$ {' '.join(command)}", flush=True)
    start = time.monotonic()
    subprocess.run([str(BIN / command[0]), *command[1:]], check=True)
    print(f"({time.monotonic() - start:.0f} s)", flush=True)


def main() -> None:
    """Run the demo."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    package, raw = out / "fmd-confocal.zip", RECIPE / "zebrafish_raw.tif"
    about = RECIPE / "about.toml"
    run("bmz-ddpm", "export", str(CHECKPOINT), "--about", str(about), "--out", str(package))
    run("bioimageio", "test", str(package), f"--summary={out / 'test_summary.md'}")
    run(
        "bioimageio",
        "predict",
        str(package),
        "--blockwise=1",
        "--overwrite",
        f"--inputs={json.dumps([[str(raw)]])}",
        f"--outputs={out}/zebrafish_{{output_id}}.tif",
    )
    show(out, raw)


def show(out: Path, raw_path: Path) -> None:
    """Draw the side-by-side picture and print what came out."""

    def plane(path: Path) -> np.ndarray:
        return np.squeeze(read_image(path).values).astype(np.float32)

    raw, truth = plane(raw_path), plane(RECIPE / "zebrafish_reference.tif")
    names = ("denoised", "std", "entropy")
    denoised, std, _ = (plane(out / f"zebrafish_{name}.tif") for name in names)
    blurred, sigma = best_gaussian(raw, truth)
    top = float(np.percentile(truth, 99.8))
    picture = side_by_side(
        [
            (f"noisy, {psnr(truth, raw):.1f} dB", eight_bit(raw, 0, top)),
            (f"denoised, {psnr(truth, denoised):.1f} dB", eight_bit(denoised, 0, top)),
            ("uncertainty (std)", eight_bit(std, 0, float(np.percentile(std, 99.8)))),
            ("reference (mean of 50)", eight_bit(truth, 0, top)),
        ],
        1624,
        432,
    )
    picture.save(out / "zebrafish.png")
    print(f"\n{'':24}PSNR (dB)  MS-SSIM")
    for label, image in (
        ("noisy", raw),
        (f"best blur (sigma {sigma:.1f})", blurred),
        ("denoised", denoised),
    ):
        print(f"{label:24}{psnr(truth, image):9.2f}{ms_ssim(truth, image):9.3f}")
    print(f"\npackage        {out / 'fmd-confocal.zip'}")
    for name in names:
        print(f"{name:15}{out / f'zebrafish_{name}.tif'}")
    print(f"side by side   {out / 'zebrafish.png'}")


if __name__ == "__main__":
    main()
