"""A pair of images as stacks of planes, and where they are valid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ..errors import DataError
from .channels import select_channels
from .images import read_image
from .pair import SPLITS, Pair
from .splits import WORDS


class Planes(NamedTuple):
    """A pair of images as stacks of planes (t and z).

    Attributes
    ----------
    low, high : (P, C, Y, X) float32
        Noisy and clean, in counts.
    mask : (P, 1, Y, X) bool or None
        False where the clean image holds nothing, as after a registration; None: all is valid.
    """

    low: np.ndarray
    high: np.ndarray
    mask: np.ndarray | None


def read_pair(pair: Pair) -> tuple[xr.DataArray, xr.DataArray]:
    """Read both images, with the axes and channels that the pair declares.

    Returns
    -------
    low, high : DataArray
        As `images.read_image` returns them; where a file has no pixel size, that of the data
        set's description.

    Raises
    ------
    DataError
    """
    images = []
    for path, channel in ((pair.low, pair.low_channel), (pair.high, pair.high_channel)):
        image = select_channels(read_image(path, pair.axes), channel, path)
        if pair.pixel_size is not None:
            image.attrs.setdefault("pixel_size", pair.pixel_size)
        images.append(image)
    return images[0], images[1]


def skip_unreadable(pairs: list[Pair], match: bool = False) -> tuple[list[Pair], list[str]]:
    """Read every pair once, and leave out those that cannot be used.

    Returns
    -------
    kept : list of Pair
    problems : list of str
        One line for each pair that is left out.

    Raises
    ------
    DataError
        If none is left of a split that was there.
    """
    kept, problems = [], []
    for pair in pairs:
        try:
            load_planes(pair, match)
            kept.append(pair)
        except DataError as error:
            problems.append(error.problem)
    for split in SPLITS:
        if any(p.split == split for p in pairs) and not any(p.split == split for p in kept):
            count = sum(p.split == split for p in pairs)
            raise DataError(
                f"none of the {count} pairs for {WORDS[split]} can be used; the first problem is: "
                f"{problems[0]}",
                "repair the images, or split the fields of view in another way",
            )
    return kept, problems


def load_planes(pair: Pair, match: bool = False) -> Planes:
    """Read a pair as two stacks of planes.

    Parameters
    ----------
    pair : Pair
    match : bool
        Bring the clean image to the intensities of the noisy one.

    Returns
    -------
    Planes

    Raises
    ------
    DataError
        If an image cannot be read or has no such axes or channel, or if the two differ in size
        or in the number of planes.
    """
    return planes_of(pair, *read_pair(pair), match)


def planes_of(
    pair: Pair, low_image: xr.DataArray, high_image: xr.DataArray, match: bool = False
) -> Planes:
    """Return what `load_planes` does, of images that `read_pair` has read."""
    low, high = stacked(low_image), stacked(high_image)
    if low.shape[0] != high.shape[0] or low.shape[2:] != high.shape[2:]:
        raise DataError(
            f"{pair.low}: is {describe_size(low)} but its partner {pair.high} is "
            f"{describe_size(high)}, both must have the same size",
            "crop or register the pair first",
        )
    mask = None
    if pair.mask is not None:
        mask = stacked(read_image(pair.mask)) > 0
        if mask.shape != (low.shape[0], 1, *low.shape[2:]):
            raise DataError(
                f"{pair.mask}: is {describe_size(mask)} with {mask.shape[1]} channels, the mask of "
                f"{pair.low} must be {describe_size(low)} with one",
                "make the mask from this very pair",
            )
        if not mask.any():
            raise DataError(f"{pair.mask}: is zero everywhere", "leave this pair out")
    return Planes(low, matched(low, high, mask, pair) if match else high, mask)


def matched(low: np.ndarray, high: np.ndarray, mask: np.ndarray | None, pair: Pair) -> np.ndarray:
    """Return the clean planes with the gain and offset that fit the noisy ones best.

    Least squares per plane and channel: the noise is in `low`, which the fit explains, so it
    does not bias the gain. Only where `mask` is true.

    Raises
    ------
    DataError
        If the channels differ, or a clean plane is constant or unlike its noisy partner.
    """
    if low.shape[1] != high.shape[1]:
        raise DataError(
            f"{pair.low}: has {low.shape[1]} channels and {pair.high} has {high.shape[1]}, "
            "match_intensity needs the same channels",
            "leave match_intensity out",
        )
    valid = np.broadcast_to(True if mask is None else mask, low.shape)
    over: dict[str, Any] = {"axis": (2, 3), "keepdims": True, "where": valid}
    mean_low, mean_high = low.mean(dtype=np.float64, **over), high.mean(dtype=np.float64, **over)
    covariance = ((low - mean_low) * (high - mean_high)).mean(**over)
    variance = ((high - mean_high) ** 2).mean(**over)
    if (covariance <= 0).any():
        raise DataError(
            f"{pair.high}: is constant or does not resemble {pair.low}, no gain and offset match "
            "their intensities",
            "is it the right partner?",
        )
    gain = covariance / variance
    return (gain * (high - mean_high) + mean_low).astype(np.float32)


def centre(rows: int, columns: int, side: int, grid: int = 1) -> tuple[slice, slice]:
    """Return the central square of an image, cut off where the image is smaller.

    Parameters
    ----------
    rows, columns : int
        Size of the image.
    side : int
        Of the square, in pixels; 0 for the whole image.
    grid : int
        It starts at multiples of this, so not quite in the centre.
    """
    starts = (
        max(0, length - side) // 2 // grid * grid if side else 0 for length in (rows, columns)
    )
    y, x = (slice(start, start + side if side else None) for start in starts)
    return y, x


def central(planes: Planes, side: int, count: int = 0) -> Planes:
    """Return the central squares (see `centre`) of the first `count` planes; 0 for all."""
    rows, columns = planes.low.shape[2:]
    window = (slice(count or None), slice(None), *centre(rows, columns, side))
    mask = None if planes.mask is None else planes.mask[window]
    return Planes(planes.low[window], planes.high[window], mask)


def describe_size(planes: np.ndarray) -> str:
    """Say how large a stack of planes is."""
    count, _, y, x = planes.shape
    return f"{y} x {x} pixels" + (f" x {count} planes" if count > 1 else "")


def stacked(image: xr.DataArray) -> np.ndarray:
    """Return (P, C, Y, X) float32: the planes count over t and z, in this order."""
    full = image.expand_dims([d for d in "tzc" if d not in image.dims])
    values = full.transpose("t", "z", "c", "y", "x").values.astype(np.float32)
    return values.reshape(-1, *values.shape[2:])  # (P, C, Y, X)
