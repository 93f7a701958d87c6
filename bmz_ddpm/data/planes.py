"""A pair of images as stacks of planes, and where they are valid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ..errors import DataError
from .images import read_image
from .pairs import Pair


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
        If the two differ in size, or in the number of planes.
    """
    low, high = _planes(read_image(pair.low)), _planes(read_image(pair.high))
    if low.shape[0] != high.shape[0] or low.shape[2:] != high.shape[2:]:
        raise DataError(
            f"{pair.low}: is {describe_size(low)} but its partner {pair.high} is "
            f"{describe_size(high)}, both must have the same size",
            "crop or register the pair first",
        )
    mask = None
    if pair.mask is not None:
        mask = _planes(read_image(pair.mask)) > 0
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


def describe_size(planes: np.ndarray) -> str:
    """Say how large a stack of planes is."""
    count, _, y, x = planes.shape
    return f"{y} x {x} pixels" + (f" x {count} planes" if count > 1 else "")


def _planes(image: xr.DataArray) -> np.ndarray:
    full = image.expand_dims([d for d in "tzc" if d not in image.dims])
    values = full.transpose("t", "z", "c", "y", "x").values.astype(np.float32)
    return values.reshape(-1, *values.shape[2:])  # (P, C, Y, X)
