"""What has to be known about all images before the first is scored: names, peak, intensities."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..data.images import read_image
from ..data.pairs import Pair
from ..data.planes import load_planes
from ..errors import ConfigError, DataError


def peak_of(pairs: Sequence[Pair], given: float | None) -> float:
    """Return the largest possible count: `given`, or that of the first clean image's type.

    255 for 8 bit, as in the paper; 65535 for 16 bit.

    Raises
    ------
    ConfigError
        If that image is of type float, which has no largest value, or `given` is not positive.
    """
    if given is not None:
        if not given > 0:
            raise ConfigError(f"--peak {given}: must be positive", "e.g. --peak 4095 for 12 bit")
        return float(given)
    kind = read_image(pairs[0].high).dtype
    if kind.kind == "f":
        raise ConfigError(
            f"{pairs[0].high}: has pixel type {kind}, which has no largest value",
            "give the largest grey level that the camera can write: --peak 4095 for 12 bit",
        )
    return float(np.iinfo(kind).max)


def image_names(pairs: Sequence[Pair]) -> list[str]:
    """Return one name per pair, fit for a file: the noisy file's, with folders where it must be.

    Raises
    ------
    DataError
        If a noisy image is listed twice.
    """
    names = [pair.low.stem for pair in pairs]
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    if len(seen) == len(names):
        return names
    top = os.path.commonpath([pair.low.parent for pair in pairs])
    names = ["_".join(p.low.relative_to(top).with_suffix("").parts) for p in pairs]
    known: set[str] = set()
    for name, pair in zip(names, pairs, strict=True):
        if name in known:
            raise DataError(f"{pair.low}: is listed twice", "remove one of the two rows")
        known.add(name)
    return names


def distribution(pairs: Sequence[Pair], match: bool = False) -> tuple[float, float]:
    """Return mean and standard deviation of the clean pixels of the pairs for training.

    Parameters
    ----------
    pairs : sequence of Pair
        Those for validation and test are passed over, and so are masked pixels.
    match : bool
        Bring each clean image to the intensities of its noisy one first.

    Raises
    ------
    ConfigError
        If there are none.
    """
    training = [pair for pair in pairs if pair.split not in ("val", "test")]
    if not training:
        raise ConfigError(
            "--rescale: no pair is for training, it needs the clean training images",
            "give the table that the training used, with its rows for training",
        )
    count, total, square = 0, 0.0, 0.0
    for pair in training:
        _, high, mask = load_planes(pair, match)
        values = high.astype(np.float64)
        if mask is not None:
            values = values[np.broadcast_to(mask, high.shape)]
        count += values.size
        total += float(values.sum())
        square += float((values**2).sum())
    mean = total / count
    return mean, float(np.sqrt(max(square / count - mean**2, 0.0)))
