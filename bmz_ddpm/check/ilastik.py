"""The tiles that ilastik cuts."""

from __future__ import annotations

import math

from .jdll import TilePlan, halo_of
from .package import Package

SMALLEST = 512


def ilastik_tiles(package: Package, image: tuple[int, int]) -> TilePlan | None:
    """Cut an image as ilastik does; None if the first input has no y and x.

    A free size grows to the first min + n step of at least 512 pixels.

    Parameters
    ----------
    image : (y, x) in pixels
    """
    axes = {a.id: a for a in package.inputs[0].plane} if package.inputs else {}
    if set(axes) != {"y", "x"}:
        return None
    sides, count, refused = [], 1, ""
    for name, size, halo in zip("yx", image, halo_of(package), strict=True):
        axis, low = axes[name], axes[name].min or 1
        step = axis.step or 1
        side = axis.size or low + max(0, math.ceil((SMALLEST - low) / step)) * step
        inner = side - 2 * halo
        if inner <= 0:
            refused = f"the tile has {side} pixels in {name}, the halo on both sides {2 * halo}"
        count *= math.ceil(size / inner) if inner > 0 else 1
        sides.append(side)
    return TilePlan((sides[0], sides[1]), count, refused)
