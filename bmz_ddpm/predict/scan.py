"""Read all pixels once before the work: what is damaged is found in minutes, not after days."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..data.lazy import read_block
from ..data.ome_zarr import empty_chunks, open_ome_zarr
from ..errors import DataError
from ..runtime.predictor import intensity_words

#: Side of the pieces that are read at once.
SIDE = 2048


def pieces(image: xr.DataArray) -> Iterator[dict[str, Any]]:
    """Go through an image in pieces of at most SIDE x SIDE pixels of all channels."""
    other = [a for a in image.dims if a in ("t", "z")]
    for index in np.ndindex(*(image.sizes[a] for a in other)):
        for y in range(0, image.sizes["y"], SIDE):
            for x in range(0, image.sizes["x"], SIDE):
                where: dict[str, Any] = {str(a): i for a, i in zip(other, index, strict=True)}
                yield where | {"y": slice(y, y + SIDE), "x": slice(x, x + SIDE)}


def scan(path: Path, image: xr.DataArray, grey_levels: tuple[float, float] | None) -> list[str]:
    """Read every pixel, and return what the user should be warned of.

    Parameters
    ----------
    path : Path
    image : DataArray
        Lazy.
    grey_levels : (low, high)
        Range of the model; None where it is not known.

    Raises
    ------
    DataError
        If a part cannot be read, or pixels are no numbers.
    """
    bad = above = total = 0
    brightest = -np.inf
    for where in pieces(image):
        values = read_block(path, image, **where)
        if values.dtype.kind == "f":
            bad += int(values.size - np.isfinite(values).sum())
        if not bad:
            brightest = max(brightest, float(values.max()))
        if grey_levels:
            above += int((values > grey_levels[1]).sum())
        total += values.size
    if bad:
        raise DataError(
            f"{path}: {bad} pixels are NaN or infinite, every pixel must be a number",
            "replace them, e.g. by the local median",
        )
    warnings = []
    if path.is_dir():
        array = open_ome_zarr(path)[0]
        if missing := empty_chunks(array):
            warnings.append(
                f"{path}: {missing} of {array.nchunks} chunks are not there and count as empty"
            )
    if grey_levels:
        words = intensity_words(brightest, above / total, str(path), *grey_levels)
        warnings += [words] if words else []
    return warnings


def middle(image: xr.DataArray) -> xr.DataArray:
    """Return the middle of the first plane, at most SIDE x SIDE pixels of all channels."""
    where: dict[str, Any] = {str(a): 0 for a in image.dims if a in ("t", "z")}
    for a in "yx":
        start = max(0, (image.sizes[a] - SIDE) // 2)
        where[a] = slice(start, start + SIDE)
    return image.isel(where)
