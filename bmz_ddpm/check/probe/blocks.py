"""Predict an image block by block, as tiktorch is fed by ilastik."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def mirrored(image: Any, axes: Sequence[str], size: Sequence[int]) -> Any:
    """Return the image mirrored at its far borders, or cropped, to this size in y and x."""
    for name, side in zip("yx", size, strict=True):
        axis = axes.index(name)
        more = [(0, 0)] * image.ndim
        more[axis] = (0, max(0, side - image.shape[axis]))
        image = np.pad(image, more, mode="symmetric").take(range(side), axis=axis)
    return image


def predict_by_blocks(
    predict: Callable[[Any], Sequence[Any]],
    image: Any,
    axes: Sequence[str],
    plan: Any,
    output_axes: Sequence[Sequence[str]],
) -> tuple[int, list[Any]]:
    """Predict an image block by block.

    Each block reaches `halo` pixels over the part that is kept of it; beyond the image's
    borders it is filled with the mirrored image.

    Parameters
    ----------
    plan : dict
        `tile` and `halo` in y and x.

    Returns
    -------
    number of blocks, and the outputs of the image's size

    Raises
    ------
    ValueError
        If a result has not the size of its block, or holds NaN or infinity.
    """
    tile, halo = plan["tile"], plan["halo"]
    size = [image.shape[axes.index(name)] for name in "yx"]
    inner = [t - 2 * h for t, h in zip(tile, halo, strict=True)]
    more = [(0, 0)] * image.ndim
    for name, h, t in zip("yx", halo, tile, strict=True):
        more[axes.index(name)] = (h, t)
    padded = np.pad(image, more, mode="symmetric")
    whole: list[Any] = []
    starts = [range(0, s, i) for s, i in zip(size, inner, strict=True)]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    for corner in corners:
        results = predict(np.ascontiguousarray(padded[_cut(axes, corner, tile)]))
        kept = [min(i, s - c) for i, s, c in zip(inner, size, corner, strict=True)]
        for number, (names, result) in enumerate(zip(output_axes, results, strict=True)):
            if [result.shape[names.index(n)] for n in "yx"] != list(tile):
                raise ValueError(f"a block of {tuple(tile)} pixels gives {result.shape}")
            if len(whole) == number:
                whole.append(_empty(result, names, size))
            whole[number][_cut(names, corner, kept)] = result[_cut(names, halo, kept)]
    if not all(np.isfinite(w).all() for w in whole):
        raise ValueError("the blocks hold NaN or infinity, or do not cover the image")
    return len(corners), whole


def _cut(axes: Sequence[str], corner: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    ends = {n: slice(c, c + s) for n, c, s in zip("yx", corner, size, strict=True)}
    return tuple(ends.get(name, slice(None)) for name in axes)


def _empty(result: Any, axes: Sequence[str], size: Sequence[int]) -> Any:
    shape = list(result.shape)
    for name, side in zip("yx", size, strict=True):
        shape[axes.index(name)] = side
    return np.full(shape, np.nan)
