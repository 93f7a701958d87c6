"""Draw a test image for a package whose training images must not be shipped.

Usage: python draw_image.py OUT --gain G [--offset O] [--read-std R] [--dark D] [--bright B]

Writes OUT_raw.tif, a drawn structure with the noise of a camera, and OUT_reference.tif, the same
without noise. Nothing in it comes from a microscope.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile
import torch

from bmz_ddpm.data.noise import NoiseModel
from bmz_ddpm.data.patches import gaussian_blur
from bmz_ddpm.data.synthetic import draw_structures


def main() -> None:
    """Draw, add noise, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gain", type=float, required=True, help="variance per mean, grey levels")
    parser.add_argument("--offset", type=float, default=0.0, help="grey levels without light")
    parser.add_argument("--read-std", type=float, default=0.0, help="noise without light")
    parser.add_argument("--dark", type=float, default=10.0, help="grey level of the background")
    parser.add_argument("--bright", type=float, default=150.0, help="of the brightest structures")
    parser.add_argument("--blur", type=float, default=1.0, help="sigma of the optics in pixels")
    parser.add_argument("--type", default="uint8", choices=["uint8", "uint16"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    drawn = torch.from_numpy(draw_structures(1, options.size, options.seed))  # (1, Y, X)
    clean = options.dark + (options.bright - options.dark) * gaussian_blur(drawn, options.blur)
    noise = NoiseModel(options.gain, options.offset, options.read_std)
    generator = torch.Generator().manual_seed(options.seed)
    noisy = noise.draw(clean, torch.tensor(options.gain), generator)
    top = np.iinfo(options.type).max
    for name, image in (("raw", noisy.round().clamp(0, top)), ("reference", clean)):
        kind = options.type if name == "raw" else "float32"
        path = options.out.with_name(f"{options.out.name}_{name}.tif")
        tifffile.imwrite(path, image[0].numpy().astype(kind), compression="zlib")
        print(path)


if __name__ == "__main__":
    main()
