"""Largest difference between tiles and the whole image, as a share of the std map's mean.

Usage: python seams.py [--sampler ddim:log_snr:4x16] [--tiles 256:32 …] [--json FILE]

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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sampler", default=DEFAULT[-1])
    parser.add_argument("--tiles", nargs="*", default=["256:32", "256:64"])
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    values = read_image(RECIPE / "zebrafish_raw.tif").values[: options.crop, : options.crop]
    image = xr.DataArray(values.astype(np.float32), dims=("y", "x"))
    checkpoint, settings = Checkpoint.load(CHECKPOINT), settings_of(options.sampler)
    lines = []
    for keyed in ("content", "index"):
        sampler = checkpoint.sampler(settings)
        backend = torch_backend(keyed_on_index(sampler) if keyed == "index" else sampler)
        for text in options.tiles if keyed == "content" else options.tiles[:1]:
            tile, halo = (int(n) for n in text.split(":"))
            single = denoise(image, backend, whole(*image.shape, halo))
            tiled = denoise(image, backend, Tiling(tile, halo))
            unit = float(single["std"].mean())
            line: dict[str, object] = {"keyed_on": keyed, "tile": tile, "halo": halo}
            for name in ("denoised", "std"):
                gap = np.abs(tiled[name] - single[name])
                line |= {f"{name}_max": float(gap.max()) / unit}
                line |= {f"{name}_rms": float((gap**2).mean()) ** 0.5 / unit}
            lines.append(line)
            shown = " ".join(f"{k} {v:.4f}" for k, v in line.items() if isinstance(v, float))
            print(f"{keyed:8} tile {tile} halo {halo}: {shown} (mean std {unit:.2f})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
