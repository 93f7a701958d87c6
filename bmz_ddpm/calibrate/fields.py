"""Fields of view with their predictions, one image in memory at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import write_tiff
from ..data.pairs import Pair
from ..data.planes import planes_of, read_pair
from ..diffusion.assemble import SamplerSettings
from ..errors import ConfigError, DataError
from ..evaluate.images import image_names
from ..evaluate.journal import REPORT, Journal
from ..evaluate.methods import Method
from ..evaluate.prediction import like
from ..runtime.likeness import Traits, traits
from .form import Pixels

#: Called before every image with (image number, images in all, name).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Fields:
    """Pairs by field of view, and where their predictions are.

    Attributes
    ----------
    members : dict
        Field to the (name, pair) of its images.
    method : Method
    match : bool
        Bring every clean image to the intensities of its noisy one.
    """

    members: dict[str, list[tuple[str, Pair]]]
    method: Method
    match: bool

    def pixels(self, field: str) -> Iterator[Pixels]:
        """Read the images of a field one by one.

        Raises
        ------
        DataError
            If an image cannot be read, or its prediction has no std or another size.
        """
        for name, pair in self.members[field]:
            low, high = read_pair(pair)
            planes = planes_of(pair, low, high, self.match)
            truth = planes.high.reshape(-1, *planes.high.shape[2:])
            found = self.method(name, low, high)
            if found.std is None:
                raise DataError(
                    f"{found.source or name}: has no std beside it ({name}_std.tif)",
                    "write predictions with: bmz-ddpm evaluate --model",
                )
            if not found.mean.shape == found.std.shape == truth.shape:
                raise DataError(
                    f"{found.source or name}: the prediction is {found.mean.shape} and its std "
                    f"{found.std.shape}, the clean image {pair.high} is {truth.shape}",
                    "predict the whole image, with its planes and channels",
                )
            valid = np.ones(truth.shape, bool)
            if planes.mask is not None:
                valid = np.repeat(planes.mask[:, 0], planes.high.shape[1], 0)
            yield Pixels(*(s[valid].astype(np.float32) for s in (truth, found.mean, found.std)))

    def traits(self) -> list[Traits]:
        """Measure the noisy images."""
        pairs = [pair for images in self.members.values() for _, pair in images]
        lows = (planes_of(p, *read_pair(p)).low for p in pairs)
        return [traits(plane) for low in lows for plane in low]


def by_field(pairs: Sequence[Pair]) -> dict[str, list[tuple[str, Pair]]]:
    """Return field to the (name, pair) of its images."""
    members: dict[str, list[tuple[str, Pair]]] = {}
    for name, pair in zip(image_names(pairs), pairs, strict=True):
        members.setdefault(pair.fov, []).append((name, pair))
    return members


def divided(names: Sequence[str], fit: int | None, seed: int) -> tuple[list[str], list[str]]:
    """Choose the fields that the form is fitted to; the others are calibrated on.

    They are sorted by a hash of the seed and their name: nothing in the images decides.

    Parameters
    ----------
    names : sequence of str
    fit : int or None
        How many; None for a quarter, at least one.
    seed : int

    Raises
    ------
    DataError
        If no field would be left to calibrate on.
    """
    first = fit or max(1, len(names) // 4)
    if first >= len(names):
        raise DataError(
            f"{len(names)} fields of view: {first} are taken to fit the form of the intervals, "
            "none is left to calibrate on",
            "add fields that the model has not seen"
            + (", or choose a smaller --fit" if first > 1 else ""),
        )
    order = sorted(names, key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).hexdigest())
    return sorted(order[:first]), sorted(order[first:])


def refuse_other_sampler(folder: Path, settings: SamplerSettings) -> None:
    """Refuse predictions whose evaluation.json says that they are another sampler's.

    Raises
    ------
    ConfigError
        If they are, or were moved or rescaled before they were written.
    """
    report = folder.parent / REPORT
    if not report.is_file():
        return
    made = json.loads(report.read_text(encoding="utf-8")).get("settings", {})
    wanted: dict[str, Any] = {"steps": settings.num_steps, "samples": settings.num_samples}
    wanted |= {"spacing": settings.spacing, "mirror": settings.mirror}
    for name, value in (wanted | {"align": False, "rescale": None}).items():
        if name in made and made[name] != value:
            raise ConfigError(
                f"{folder}: these predictions were made with {name} = {made[name]}, the intervals "
                f"would be for {name} = {value}",
                "give the options they were made with, or leave --predictions out",
            )


def predict_all(
    members: dict[str, list[tuple[str, Pair]]],
    method: Method,
    journal: Journal,
    folder: Path,
    progress: Progress,
) -> None:
    """Predict every image that is not finished; write NAME.tif and NAME_std.tif.

    Raises
    ------
    UserError
        If an image cannot be predicted, or a result cannot be written.
    """
    images = [image for field in members.values() for image in field]
    for number, (name, pair) in enumerate(images, 1):
        if name in journal.finished:
            continue
        progress(number, len(images), name)
        low, high = read_pair(pair)
        found = method(name, low, high)
        for ending, planes in (("", found.mean), ("_std", found.std)):
            if planes is not None:
                write_tiff(folder / f"{name}{ending}.tif", like(planes, low))
        journal.add({"image": name})
