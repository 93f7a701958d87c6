"""Does a film flicker? Temporal standard deviation of its background, by what keys the noise.

Usage: python flicker.py FILM.tif [--frames 6] [--sampler ddim:log_snr:4x2] [--json FILE]

The film is brought linearly to the grey levels of the confocal model (1st percentile to 10, 99.9th
to 150). Background is the darkest 30 % of the pixels, by their mean over time.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from zebrafish import CHECKPOINT, settings_of

from bmz_ddpm import Checkpoint, Tiling, read_image
from bmz_ddpm.runtime.position import PlacedBackend


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--sampler", default="ddim:log_snr:4x2")
    parser.add_argument("--halo", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    film = read_image(options.film, "tyx").values[: options.frames].astype(np.float64)
    low, high = np.percentile(film, (1, 99.9))
    film = ((film - low) / (high - low) * 140 + 10).astype(np.float32)
    backend = PlacedBackend(Checkpoint.load(CHECKPOINT).sampler(settings_of(options.sampler)))
    tiling = Tiling(-(-film.shape[1] // 32) * 32 + 2 * options.halo, options.halo)
    results = {"raw": film}
    for key in ("content", "position"):
        made = np.zeros_like(film)
        for frame, target in zip(film, made, strict=True):
            for tile, y, x in tiling.cut(frame[None]):
                place = (y - tiling.halo, x - tiling.halo)
                outputs = (
                    backend.at(tile[None], *place) if key == "position" else backend(tile[None])
                )
                tiling.paste(target[None], outputs[0][0], y, x)
        results[key] = made
    dark = film.mean(0) <= np.percentile(film.mean(0), 30)
    lines = {
        name: {"background": float(v.std(0)[dark].mean()), "all": float(v.std(0).mean())}
        for name, v in results.items()
    }
    for name, line in lines.items():
        print(f"{name:9} background {line['background']:.3f}  all {line['all']:.3f} grey levels")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
