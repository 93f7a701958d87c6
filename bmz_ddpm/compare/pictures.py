"""Read a few images and lay them out: montage, errors, line profile, side view, uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.images import read_image
from ..errors import DataError
from .choice import Choice, choose, deciding
from .evaluations import EvaluatedPair, Evaluation
from .panels import Panel, Strip, eight_bit, scale_bar
from .table import Comparison

#: Side of what is shown of a large image, as in the paper.
CROP = 256
#: Pixels of one image that the calibration looks at.
_MOST_PIXELS = 100_000
CLASSES = 12


@dataclass
class View:
    """What is kept of one file.

    Attributes
    ----------
    plane : (Y, X) float32
        The whole plane, in counts.
    planes : int
        Of the stack it comes from.
    side : (P, X) float32 or None
        The stack seen from the side, at the row of the profile.
    pixel_size : float or None
        Along x, in micrometre.
    """

    plane: np.ndarray
    planes: int
    side: np.ndarray | None
    pixel_size: float | None


@dataclass
class Window:
    """Part of a plane that is shown: first row and column, its size, and the profile's row."""

    y: int
    x: int
    height: int
    width: int
    row: int

    def of(self, plane: np.ndarray) -> np.ndarray:
        """Return the part of a (Y, X) plane that is shown."""
        return plane[self.y : self.y + self.height, self.x : self.x + self.width]


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


def _picture(
    comparison: Comparison, choice: Choice, pairs: list[EvaluatedPair | None], gallery: Gallery
) -> Picture:
    image, plane = comparison.items[choice.item]
    folder, pair = _first(comparison.evaluations, pairs, image)
    high = _view(folder / pair.high, plane)
    window = _window(high.plane)
    high = _view(folder / pair.high, plane, window)
    low = _view(folder / pair.low, plane, window)
    views: list[tuple[int, str, View]] = []
    maps: dict[str, list[tuple[str, np.ndarray]]] = {"std": [], "entropy": []}
    for i, (evaluation, mine) in enumerate(zip(comparison.evaluations, pairs, strict=True)):
        try:
            view = _part(evaluation, mine, "prediction", image, plane, window, high)
        except DataError as error:
            gallery.notes.append(f"{evaluation.name} is missing in the pictures: {error.problem}.")
            continue
        views.append((i, evaluation.name, view))
        for kind in maps:
            if mine is None or getattr(mine, kind) is None:
                continue
            try:
                values = _part(evaluation, mine, kind, image, plane, window, high).plane
            except DataError as error:
                gallery.notes.append(f"{evaluation.name} has no {kind} map: {error.problem}.")
                continue
            maps[kind].append((evaluation.name, window.of(values)))
            if kind == "std":
                found = _calibration(evaluation, view.plane, high.plane, values)
                gallery.pixels.setdefault(i, []).append(found)
    return Picture(
        image + (f", plane {plane}" if high.planes > 1 else ""),
        choice.why,
        _strips(comparison, choice.item, window, low, high, views)
        + [s for s in (_uncertainty(kind, found) for kind, found in maps.items()) if s],
        [(i, name, window.of(view.plane)[window.row]) for i, name, view in views],
        window.of(high.plane)[window.row],
        high.pixel_size or 1.0,
        "µm" if high.pixel_size else "pixels",
    )


def _first(
    evaluations: list[Evaluation], pairs: list[EvaluatedPair | None], image: str
) -> tuple[Path, EvaluatedPair]:
    for evaluation, pair in zip(evaluations, pairs, strict=True):
        if pair is not None:
            return evaluation.folder, pair
    raise DataError(f"{image}: stands in no evaluation.json", "repeat bmz-ddpm evaluate")


def _part(
    evaluation: Evaluation,
    pair: EvaluatedPair | None,
    kind: str,
    image: str,
    plane: str,
    window: Window,
    high: View,
) -> View:
    """Read the prediction, std or entropy of one method; it must fit the clean image."""
    name = getattr(pair, kind) if pair else None
    if name is None:
        raise DataError(f"{image}: evaluation.json names no {kind}", "repeat bmz-ddpm evaluate")
    path = evaluation.folder / name
    view = _view(path, plane, window)
    if view.plane.shape != high.plane.shape:
        sizes = [" x ".join(map(str, v.plane.shape)) for v in (view, high)]
        raise DataError(
            f"{path}: is {sizes[0]} pixels, the clean image {sizes[1]}", "repeat bmz-ddpm evaluate"
        )
    return view


def _view(path: Path, plane: str, window: Window | None = None) -> View:
    image = read_image(path)
    if "c" in image.dims:
        image = image.isel(c=0)
    stack = image.values.reshape(-1, *image.shape[-2:])  # (P, Y, X)
    at = int(plane) if plane.isdecimal() else 0
    if at >= len(stack):
        raise DataError(f"{path}: has {len(stack)} planes, but no plane {at}", "evaluate it again")
    side = None
    if window and len(stack) > 1 and "z" in image.dims and image.sizes.get("t", 1) == 1:
        columns = slice(window.x, window.x + window.width)
        side = stack[:, window.y + window.row, columns].astype(np.float32)
    size = image.attrs.get("pixel_size")
    return View(stack[at].astype(np.float32), len(stack), side, size[1] if size else None)


def _window(clean: np.ndarray) -> Window:
    """Return the brightest part of the clean image, and the row through its brightest structure."""
    height, width = (min(CROP, n) for n in clean.shape)
    y, x = (int(n) for n in _argmax(_sums(clean, height, width)))
    part = clean[y : y + height, x : x + width]
    k = min(5, height, width)  # a structure, not a single bright pixel
    row = int(_argmax(_sums(part, k, k))[0]) + k // 2
    return Window(y, x, height, width, row)


def _sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the sums over all windows of a size, by differences of cumulated sums."""
    total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = total[height:] - total[:-height]
    return np.asarray(rows[:, width:] - rows[:, :-width])


def _argmax(values: np.ndarray) -> tuple[np.intp, ...]:
    return np.unravel_index(int(values.argmax()), values.shape)


def _strips(
    comparison: Comparison,
    item: int,
    window: Window,
    low: View,
    high: View,
    views: list[tuple[int, str, View]],
) -> list[Strip]:
    noisy, clean = window.of(low.plane), window.of(high.plane)
    dark, bright = (float(v) for v in np.percentile(noisy, [0.5, 99.8]))
    black, white = (float(v) for v in np.percentile(clean, [0.5, 99.8]))
    remarks = _remarks(comparison, item)
    said = (
        f"The noisy image is shown from {dark:.4g} to {bright:.4g}, all others from {black:.4g} to "
        f"{white:.4g} counts (0.5 to 99.8 % of the clean image)."
    )
    shown = [
        Panel("noisy", eight_bit(noisy, dark, bright)),
        Panel("clean", eight_bit(clean, black, white)),
    ]
    shown += [
        Panel(n, eight_bit(window.of(v.plane), black, white), remarks[i]) for i, n, v in views
    ]
    cut = "" if noisy.shape == low.plane.shape else (
        f" Brightest {window.height} x {window.width} of {' x '.join(map(str, low.plane.shape))} "
        "pixels."
    )  # fmt: skip
    bar = scale_bar(window.width, high.pixel_size)
    row = (window.row + 0.5) / window.height
    strips = [Strip("montage", "Images", said + cut, shown, bar, row)]
    if views:
        strips.append(_errors(window, clean, views))
    if high.side is not None:
        strips.append(_side(low, high, views, (dark, bright), (black, white)))
    return strips


def _remarks(comparison: Comparison, item: int) -> list[str]:
    column = deciding(comparison)
    at = int(np.flatnonzero(column.items == item)[0])
    label, text = column.measure.label, column.measure.text
    return [f"{label} {text(float(values[at]))}" for values in column.values]


def _errors(window: Window, clean: np.ndarray, views: list[tuple[int, str, View]]) -> Strip:
    errors = [(name, window.of(view.plane) - clean) for _, name, view in views]
    # the middle method decides: one that fails must not make all others look perfect
    limit = float(np.median([np.percentile(np.abs(error), 99.5) for _, error in errors])) or 1.0
    panels = [Panel(name, eight_bit(error, -limit, limit)) for name, error in errors]
    ends = (f"−{limit:.3g} counts: too dark", f"too bright: +{limit:.3g}")
    said = "Result minus clean image. The range is the same for all methods."
    return Strip("errors", "Signed errors", said, panels, scale=("RdBu_r", *ends))


def _side(
    low: View,
    high: View,
    views: list[tuple[int, str, View]],
    noisy: tuple[float, float],
    clean: tuple[float, float],
) -> Strip:
    tall = max(1, round(64 / high.planes))
    given = [("noisy", low.side, noisy), ("clean", high.side, clean)]
    given += [(name, view.side, clean) for _, name, view in views]
    panels = [
        Panel(name, eight_bit(side, *limits).repeat(tall, axis=0))
        for name, side, limits in given
        if side is not None and len(side) == high.planes
    ]
    said = (
        f"Side view (xz) along the dashed line; each of the {high.planes} planes is drawn {tall} "
        "pixels high, whatever their true distance."
    )
    return Strip("xz", "Side view", said, panels)


def _uncertainty(kind: str, found: list[tuple[str, np.ndarray]]) -> Strip | None:
    if not found:
        return None
    top = float(np.percentile(np.stack([values for _, values in found]), 99.8)) or 1.0
    title, unit, name = {
        "std": ("Standard deviation of the samples", "counts", "magma"),
        "entropy": ("Entropy of the samples", "nats", "viridis"),
    }[kind]
    panels = [Panel(method, eight_bit(values, 0, top)) for method, values in found]
    said = "Bright: the samples differ. The range is the same for all methods."
    return Strip(kind, title, said, panels, scale=(name, "0", f"{top:.3g} {unit}"))


def _calibration(
    evaluation: Evaluation, mean: np.ndarray, clean: np.ndarray, std: np.ndarray
) -> np.ndarray:
    """Return (2, K): variance promised and squared error found, of evenly spaced pixels."""
    step = -(-mean.size // _MOST_PIXELS)
    count = evaluation.about.settings.get("samples")
    # unbiased, and with the mean's own error: Fortin et al. (2014), eq. 15
    factor = (count + 1) / (count - 1) if isinstance(count, int) and count > 1 else 1.0
    promised = factor * std.ravel()[::step].astype(np.float64) ** 2
    return np.stack([promised, (mean - clean).ravel()[::step].astype(np.float64) ** 2])


def calibration_curve(pixels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return promised and found error, in counts, of classes of pixels with similar std.

    Parameters
    ----------
    pixels : list of (2, K)
        From `Gallery.pixels`.
    """
    promised, found = np.concatenate(pixels, axis=1)
    order = np.argsort(promised, kind="stable")
    classes = np.array_split(order, min(CLASSES, len(order)))
    curve = np.array([[promised[c].mean(), found[c].mean()] for c in classes])
    return np.sqrt(curve[:, 0]), np.sqrt(curve[:, 1])
