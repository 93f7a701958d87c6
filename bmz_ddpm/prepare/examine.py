"""Register one pair and judge the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.pairs import Pair
from ..data.planes import Planes, load_planes
from ..errors import DataError
from .register import Movement, find_movement, move, moved_mask
from .settings import PrepareSettings
from .similarity import similarity, structure

STILL = Movement()
#: A movement below this many pixels everywhere is within the accuracy of the registration: the
#: clean image is left as it is, without interpolation.
ALIGNED = 0.1


class Views(NamedTuple):
    """What a pair looks like before and after, for the contact sheet.

    Attributes
    ----------
    low, high, moved : (Y, X) float32
        Structures: noisy, clean as it was, clean as it was moved.
    valid : (Y, X) bool
        Where the moved clean image holds data.
    """

    low: np.ndarray
    high: np.ndarray
    moved: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Finding:
    """What is known about one pair.

    Attributes
    ----------
    pair : Pair
    movement : Movement
        What was applied; of a rejected pair, what was found.
    before, after : float
        Similarity, see `similarity.similarity`, both within the overlap.
    overlap : float
        Share of the noisy image with clean data, 0 to 1.
    verdict : str
        "registered", "unchanged", or "rejected".
    reason : str
        Why it was left unchanged or rejected.
    """

    pair: Pair
    movement: Movement = STILL
    before: float = 0.0
    after: float = 0.0
    overlap: float = 0.0
    verdict: str = "rejected"
    reason: str = ""

    @property
    def rejected(self) -> bool:
        """Whether the pair is left out."""
        return self.verdict == "rejected"


def examine(pair: Pair, settings: PrepareSettings) -> tuple[Finding, Views | None]:
    """Register a pair and say what became of it.

    Returns
    -------
    Finding
    Views or None
        None if the images could not be read.
    """
    try:
        planes = load_planes(pair)
        _check(pair, planes, settings)
    except DataError as error:
        return Finding(pair, reason=error.problem.removeprefix(f"{pair.low}: ")), None
    held = _valid(planes)
    low = structure(planes.low, None, settings.channel)
    high = structure(planes.high, held, settings.channel)
    if not low.any() or not high.any():
        name = "clean" if low.any() else "noisy"
        reason = f"the {name} image shows nothing to register"
        return Finding(pair, reason=reason), Views(low, high, high, held)
    movement = find_movement(low, high, settings.register, None if held.all() else held)
    if movement is None:
        reason = "registration found no overlap"
        return Finding(pair, reason=reason), Views(low, high, high, held)
    valid = moved_mask(held, movement)
    moved = high if movement == STILL else move(high, movement, smooth=False)
    before, after = similarity(low, high, valid), similarity(low, moved, valid)
    kept = _kept(movement, before, after, low.shape, settings)
    if kept:
        movement, moved, valid, after = STILL, high, held, similarity(low, high, held)
        before = after
    reason = _reason(movement, after, float(valid.mean()), low.shape, settings)
    verdict = "rejected" if reason else "unchanged" if kept else "registered"
    finding = Finding(pair, movement, before, after, float(valid.mean()), verdict, reason or kept)
    return finding, Views(low, high, moved.astype(np.float32), valid)


def _check(pair: Pair, planes: Planes, settings: PrepareSettings) -> None:
    for path, images in ((pair.low, planes.low), (pair.high, planes.high)):
        channels = images.shape[1]
        if settings.channel is not None and settings.channel > channels:
            raise DataError(
                f"{path}: has {channels} channels, --register-channel is {settings.channel}",
                f"choose 1 to {channels}",
            )
    if settings.patch and min(planes.low.shape[2:]) < settings.patch:
        y, x = planes.low.shape[2:]
        raise DataError(
            f"{pair.low}: is {y} x {x} pixels, smaller than --patch {settings.patch}",
            "cut smaller patches",
        )


def _valid(planes: Planes) -> np.ndarray:
    """Say where all planes of the clean image hold data: (Y, X) bool."""
    if planes.mask is None:
        return np.ones(planes.low.shape[2:], bool)
    return np.asarray(planes.mask.all(axis=(0, 1)))


def _kept(
    movement: Movement,
    before: float,
    after: float,
    shape: tuple[int, ...],
    settings: PrepareSettings,
) -> str:
    """Say why the clean image is better left as it is; "" if it is not."""
    if settings.register == "none":
        return "not asked for"
    if movement.farthest((shape[0], shape[1])) < ALIGNED:
        return "aligned already"
    if after <= before:
        return f"registration made it worse ({before:.4f} to {after:.4f})"
    return ""


def _reason(
    movement: Movement,
    after: float,
    overlap: float,
    shape: tuple[int, ...],
    settings: PrepareSettings,
) -> str:
    """Say why a pair is rejected; "" if it is not."""
    limit = min(shape) / 10 if settings.max_shift is None else settings.max_shift
    if after < settings.min_similarity:
        return f"similarity {after:.2f} is below {settings.min_similarity:g} (--min-similarity)"
    if movement.shift > limit:
        return f"shift of {movement.shift:.1f} pixels is above {limit:g} (--max-shift)"
    if abs(movement.rotation) > settings.max_rotation:
        return (
            f"rotation of {movement.rotation:.1f} degrees is beyond {settings.max_rotation:g} "
            "(--max-rotation)"
        )
    if overlap < settings.min_overlap:
        return f"overlap of {overlap:.0%} is below {settings.min_overlap:.0%} (--min-overlap)"
    return ""
