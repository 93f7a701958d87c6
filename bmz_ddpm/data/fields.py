"""Training images as single planes, what is valid of them, and their range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from .pairs import Pair
from .planes import planes_of, read_pair


class Plane(NamedTuple):
    """One plane of a pair: low, high (C, Y, X) in counts, valid (1, Y, X) or None, file name.

    The types are those of the files' pixels.
    """

    low: Tensor
    high: Tensor
    valid: Tensor | None
    name: str
    low_type: np.dtype
    high_type: np.dtype


def load_fields(pair: Pair, match: bool) -> list[Plane]:
    """Load a pair; what the mask hides becomes the clean image's median and has no say."""
    images = read_pair(pair)
    low, high, mask = planes_of(pair, *images, match)
    if mask is not None:
        for plane, inside in zip(high, mask, strict=True):
            for channel in plane:
                channel[~inside[0]] = np.median(channel[inside[0]]) if inside.any() else 0
    return [
        Plane(
            torch.from_numpy(low[i]),
            torch.from_numpy(high[i]),
            None if mask is None else torch.from_numpy(mask[i]),
            str(pair.low),
            images[0].dtype,
            images[1].dtype,
        )
        for i in range(len(low))
    ]


def valid_pixels(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high (C, …) where the clean image holds something."""
    low, high = plane.low.numpy(), plane.high.numpy()
    if plane.valid is None:
        return low, high
    inside = plane.valid[0].numpy()
    return low[:, inside], high[:, inside]


def highest(types: Iterable[np.dtype]) -> float:
    """Return the largest count that one of these pixel types can hold; infinite for float."""
    return max(float(np.iinfo(t).max) if t.kind in "ui" else math.inf for t in types)


def intensity_range(planes: list[np.ndarray], top: float) -> tuple[float, float]:
    """Learn the range of intensities from the training images.

    It is that of the data with a quarter of headroom, because the sampler clips to it, but not
    beyond `top`, what the files' type can hold. A lower end near zero becomes zero.

    Returns
    -------
    low, high : float
        In counts.
    """
    low = min(float(p.min()) for p in planes)
    high = max(float(p.max()) for p in planes)
    if not high > low:
        raise DataError(
            f"training images: every pixel is {low:g}", "use images that are not constant"
        )
    low = 0.0 if 0 <= low <= 0.05 * high else low
    return low, min(low + (high - low) * 1.25, top)
