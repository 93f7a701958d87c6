"""What tiles change: whole image minus tiles, as `bioimageio predict-block-artifacts` shows it.

Usage: python seams.py [--sampler ddim:log_snr:4x16] [--tiles 256:64 …] [--json FILE]
    [--picture PNG]

Differences of the mean are given as shares of the intensity range (0 to 255), and of both maps as
multiples of the std map's mean. "Jump" is the mean step of the tiled image across the borders of
tiles less the same of the whole image, as a share of the range: what an eye sees as a seam.

"Index" repeats it with noise that depends on the position in the tile, as a constant seed in a
graph would give it: what content-keyed noise is there to avoid.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from zebrafish import CHECKPOINT, DEFAULT, RECIPE, settings_of

from bmz_ddpm import Checkpoint, Tiling, denoise, read_image
from bmz_ddpm.diffusion.sampler import DiffusionSampler
from bmz_ddpm.runtime.backends import torch_backend
from bmz_ddpm.runtime.tiling import whole


def keyed_on_index(sampler: DiffusionSampler) -> DiffusionSampler:
    """Return the sampler with noise that depends on the position in the tile alone."""

    def places(image: torch.Tensor) -> torch.Tensor:
        y, x = (torch.arange(n) for n in image.shape[2:])
        index = (y[:, None] * 65536 + x[None]) * sampler.noise.strides[3]
        return index.expand(image.shape[0], 1, -1, -1)

    sampler.noise.places = places  # type: ignore[method-assign]
    return sampler


def jump(image: np.ndarray, inner: int) -> float:
    """Return the mean absolute step between neighbours on both sides of a tile's border."""
    steps = [np.abs(np.diff(image, axis=axis)) for axis in (0, 1)]
    down, across = steps[0][inner - 1 :: inner], steps[1][:, inner - 1 :: inner]
    crossed = np.concatenate([down.ravel(), across.ravel()])
    return float(crossed.mean()) if crossed.size else 0.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sampler", default=DEFAULT[-1])
    parser.add_argument("--image", type=Path, default=RECIPE / "zebrafish_raw.tif")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    tiles = ["128:32", "256:32", "192:64", "256:64", "512:64"]
    parser.add_argument("--tiles", nargs="*", default=tiles)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    values = read_image(options.image).values[: options.crop, : options.crop]
    image = xr.DataArray(values.astype(np.float32), dims=("y", "x"))
    checkpoint, settings = Checkpoint.load(options.checkpoint), settings_of(options.sampler)
    span = checkpoint.config.intensity.high - checkpoint.config.intensity.low
    lines, shown = [], []
    for keyed in ("index", "content"):
        sampler = checkpoint.sampler(settings)
        backend = torch_backend(keyed_on_index(sampler) if keyed == "index" else sampler)
        single = denoise(image, backend, whole(*image.shape, 64))
        unit = max(float(single["std"].mean()), 1e-9)
        for text in options.tiles if keyed == "content" else options.tiles[1:2]:
            tiling = Tiling(*(int(n) for n in text.split(":")))
            tiled = denoise(image, backend, tiling)
            line: dict[str, object] = {"keyed_on": keyed, "tile": tiling.tile, "halo": tiling.halo}
            for name in ("denoised", "std"):
                gap = np.abs(tiled[name] - single[name]).values
                line |= {f"{name}_max": float(gap.max()) / unit}
                line |= {f"{name}_rms": float((gap**2).mean()) ** 0.5 / unit}
                if name == "denoised":
                    shown.append((f"{keyed}, {text}", gap / span))
                    line |= {"range_max": float(gap.max()) / span}
                    edges = [jump(m["denoised"].values, tiling.inner) for m in (tiled, single)]
                    line |= {"jump": (edges[0] - edges[1]) / span}
            lines.append(line)
            words = " ".join(f"{k} {v:.2e}" for k, v in line.items() if isinstance(v, float))
            print(f"{keyed:8} tile {text}: {words} (mean std {unit:.2f})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))
    if options.picture:
        draw(options.picture, shown)


def draw(path: Path, shown: list[tuple[str, np.ndarray]]) -> None:
    """Show the differences beside each other: white is 1 % of the intensity range."""
    from PIL import Image, ImageDraw

    side = shown[0][1].shape[0]
    sheet = Image.new("L", ((side + 8) * len(shown), side + 16))
    pen = ImageDraw.Draw(sheet)
    for i, (name, gap) in enumerate(shown):
        picture = Image.fromarray((np.clip(gap / 0.01, 0, 1) * 255).astype(np.uint8))
        sheet.paste(picture, (i * (side + 8), 16))
        pen.text((i * (side + 8), 2), name, fill=255)
    sheet.save(path)


if __name__ == "__main__":
    main()
