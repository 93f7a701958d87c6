"""Denoise whole images with any engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from ..errors import DataError
from .backends import INTERVAL, OUTPUTS, Backend
from .tiling import Tiling

#: Called after every tile with (tiles done, tiles in all).
Progress = Callable[[int, int], None]


def planes_of(image: xr.DataArray) -> xr.DataArray:
    """Return the image as (t, z, c, y, x), with length-one axes where it has none."""
    full = image.expand_dims([d for d in "tzc" if d not in image.dims])
    return full.transpose("t", "z", "c", "y", "x")


def check_image(image: xr.DataArray, in_channels: int, name: str) -> None:
    """Refuse an image that the model cannot take.

    Raises
    ------
    DataError
        If it has no y and x, or another number of channels.
    """
    if "y" not in image.dims or "x" not in image.dims:
        raise DataError(f"{name}: has axes {tuple(image.dims)}, y and x are needed", "save as 2D")
    channels = image.sizes.get("c", 1)
    if channels != in_channels:
        raise DataError(
            f"{name}: has {channels} channels, the model takes {in_channels}",
            "split the channels, or choose a model trained for them",
        )


def intensity_warning(image: xr.DataArray, name: str, low: float, high: float) -> str | None:
    """Say in one line if an image does not lie in the range the model was trained for.

    Parameters
    ----------
    low, high : float
        Range of the model, in counts.

    Returns
    -------
    str or None
    """
    return intensity_words(float(image.max()), float((image > high).mean()), name, low, high)


def intensity_words(
    brightest: float, share: float, name: str, low: float, high: float
) -> str | None:
    """Say the same of an image whose brightest pixel and share above `high` are known."""
    if share > 1e-3:
        return f"{name}: {share:.1%} of the pixels are above {high:g}, where the model's range ends"
    if brightest < low + 0.02 * (high - low):
        return (
            f"{name}: its brightest pixel is {brightest:g}, the model expects grey levels from "
            f"{low:g} to {high:g}; do not rescale images before denoising"
        )
    return None


def denoise(
    image: xr.DataArray, backend: Backend, tiling: Tiling, progress: Progress = lambda *_: None
) -> dict[str, xr.DataArray]:
    """Denoise every plane of an image, tile by tile.

    Parameters
    ----------
    image : DataArray
        Dimensions out of "tzcyx"; camera counts.
    backend : Backend
    tiling : Tiling
    progress : callable

    Returns
    -------
    dict of DataArray
        "denoised", "std" (both in counts) and "entropy" (nats), and of a calibrated model "lower"
        and "upper" (counts): float32, with the axes and attributes of `image`.
    """
    planes = planes_of(image)
    t, z, _, y, x = planes.shape
    total, done = t * z * tiling.count(y, x), 0
    results: list[np.ndarray] = []
    for index in np.ndindex(t, z):
        plane = np.ascontiguousarray(planes.values[index], dtype=np.float32)  # (C, Y, X)
        for tile, top, left in tiling.cut(plane):
            outputs = backend(tile[None])
            if not results:
                results = [np.zeros((t, z, o.shape[1], y, x), np.float32) for o in outputs]
            for result, output in zip(results, outputs, strict=True):
                tiling.paste(result[index], output[0], top, left)
            done += 1
            progress(done, total)
    names = (OUTPUTS + INTERVAL)[: len(results)]
    return {name: _like(image, result) for name, result in zip(names, results, strict=True)}


def _like(image: xr.DataArray, values: np.ndarray) -> xr.DataArray:
    full = xr.DataArray(values, dims=tuple("tzcyx"), attrs=dict(image.attrs))
    dropped = {d: 0 for d in "tzc" if d not in image.dims and full.sizes[d] == 1}
    return full.isel(dropped)
