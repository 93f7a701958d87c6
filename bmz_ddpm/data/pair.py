"""A noisy image and its clean reference, as they are declared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """One noisy image and its clean reference.

    Attributes
    ----------
    low, high : Path
    fov : str
        Field of view. Images of one field are never in two splits; planes, time points and
        channels of one file are one field.
    split : str
        "train", "val", "test", or "" when not yet decided.
    mask : Path, optional
        Image that is zero where the clean image holds nothing.
    axes : str
        Axes of both images in stored order, as "tyx", where the files do not say them.
    low_channel, high_channel : str
        Channels to use, by name or number (counted from 1); "" for all.
    pixel_size : (float, float), optional
        (y, x) in micrometre, as the data set's description says it.
    """

    low: Path
    high: Path
    fov: str
    split: str = ""
    mask: Path | None = None
    axes: str = ""
    low_channel: str = ""
    high_channel: str = ""
    pixel_size: tuple[float, float] | None = None
