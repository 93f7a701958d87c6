"""Read a few images and lay them out: montage, errors, line profile, side view, uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from .calibration import promised_and_found
from .choice import Choice, choose
from .evaluations import AGAIN, EvaluatedPair, Evaluation
from .panels import Strip
from .strips import strips_of, uncertainty
from .table import Comparison
from .views import View, Window, brightest, read_view


@dataclass
class Picture:
    """One image with all methods.

    Attributes
    ----------
    title, why : str
        The image, and the rule by which it was chosen.
    strips : list of Strip
    lines : list of (method, name, (X,) float)
        Line profiles in counts.
    truth : (X,) float
        Profile of the clean image.
    step, unit : float, str
        Distance of two pixels.
    """

    title: str
    why: str
    strips: list[Strip]
    lines: list[tuple[int, str, np.ndarray]]
    truth: np.ndarray
    step: float
    unit: str


@dataclass
class Gallery:
    """All pictures, what was learnt about the std maps, and what could not be shown.

    Attributes
    ----------
    pictures : list of Picture
    pixels : dict of int to list of (2, K) float32
        For each method with std maps: variance promised and squared error found, in counts².
    notes : list of str
    """

    pictures: list[Picture] = field(default_factory=list)
    pixels: dict[int, list[np.ndarray]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_gallery(comparison: Comparison, count: int) -> Gallery:
    """Show `count` images; files that are missing or damaged become notes."""
    gallery = Gallery()
    pairs = [{pair.image: pair for pair in e.about.pairs} for e in comparison.evaluations]
    for choice in choose(comparison, count) if count else []:
        image, _ = comparison.items[choice.item]
        try:
            mine = [by_name.get(image) for by_name in pairs]
            gallery.pictures.append(_picture(comparison, choice, mine, gallery))
        except DataError as error:
            gallery.notes.append(f"{image} is not shown: {error.problem}.")
    return gallery


@dataclass
class _Frame:
    """What is looked at: an image, one of its planes, and the part that is shown."""

    image: str
    plane: str
    window: Window
    clean: np.ndarray


def _picture(
    comparison: Comparison, choice: Choice, pairs: list[EvaluatedPair | None], gallery: Gallery
) -> Picture:
    image, plane = comparison.items[choice.item]
    folder, pair = _first(comparison.evaluations, pairs, image)
    whole = read_view(folder / pair.high, plane).plane
    window = brightest(whole)
    frame = _Frame(image, plane, window, whole)
    high = read_view(folder / pair.high, plane, window)
    low = _fitting(folder / pair.low, frame)
    why = choice.why
    if comparison.evaluations[0].about.settings.get("match_intensity"):
        high = _as_bright(high, low)
        whole = high.plane
        why += ". The clean image has the intensities of the noisy one, as when it was scored"
    views: list[tuple[int, str, View]] = []
    maps: dict[str, list[tuple[str, np.ndarray]]] = {"std": [], "entropy": []}
    for i, (evaluation, mine) in enumerate(zip(comparison.evaluations, pairs, strict=True)):
        view = _part(evaluation, mine, "prediction", frame, gallery)
        if view is None or mine is None:
            continue
        for kind, found in maps.items():
            values = _part(evaluation, mine, kind, frame, gallery) if getattr(mine, kind) else None
            if values is None:
                continue
            if kind == "std":
                samples = evaluation.about.settings.get("samples")
                pixels = promised_and_found(view.plane, whole, values.plane, samples)
                gallery.pixels.setdefault(i, []).append(pixels)
            found.append((evaluation.name, values.cut(window).plane))
        views.append((i, evaluation.name, view.cut(window)))  # not the whole plane: memory
    strips = strips_of(comparison, choice.item, window, low.cut(window), high.cut(window), views)
    strips += [s for s in (uncertainty(kind, found) for kind, found in maps.items()) if s]
    return Picture(
        image + (f", plane {plane}" if high.planes > 1 else ""),
        why,
        strips,
        [(i, name, view.plane[window.row]) for i, name, view in views],
        window.of(whole)[window.row],
        high.pixel_size or 1.0,
        "µm" if high.pixel_size else "pixels",
    )


def _as_bright(clean: View, noisy: View) -> View:
    """Fit gain and offset of the clean image to the noisy one, as `data.planes.matched` does."""
    gain, offset = np.polyfit(clean.plane.ravel(), noisy.plane.ravel(), 1)

    def fit(values: np.ndarray) -> np.ndarray:
        return (gain * values + offset).astype(np.float32)

    side = None if clean.side is None else fit(clean.side)
    return replace(clean, plane=fit(clean.plane), side=side)


def _first(
    evaluations: list[Evaluation], pairs: list[EvaluatedPair | None], image: str
) -> tuple[Path, EvaluatedPair]:
    for evaluation, pair in zip(evaluations, pairs, strict=True):
        if pair is not None:
            return evaluation.folder, pair
    raise DataError(f"{image}: stands in no evaluation.json", AGAIN)


def _part(
    evaluation: Evaluation, pair: EvaluatedPair | None, kind: str, frame: _Frame, gallery: Gallery
) -> View | None:
    """Read the prediction, std or entropy of one method; what is wrong with it becomes a note."""
    name = getattr(pair, kind) if pair else None
    try:
        if name is None:
            raise DataError(f"{frame.image}: evaluation.json names no {kind}", AGAIN)
        return _fitting(evaluation.folder / name, frame)
    except DataError as error:
        gallery.notes.append(f"{evaluation.name}: no {kind} in the pictures: {error.problem}.")
        return None


def _fitting(path: Path, frame: _Frame) -> View:
    """Read a file that must have the size of the clean image."""
    view = read_view(path, frame.plane, frame.window)
    if view.plane.shape != frame.clean.shape:
        sizes = [" x ".join(map(str, p.shape)) for p in (view.plane, frame.clean)]
        raise DataError(f"{path}: is {sizes[0]} pixels, the clean image {sizes[1]}", AGAIN)
    return view
