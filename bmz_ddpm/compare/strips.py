"""Panels of one image: montage, signed errors, side view, maps of uncertainty."""

from __future__ import annotations

import numpy as np

from ..display.scale import COLOURS, eight_bit, scale_bar
from .choice import deciding
from .panels import Panel, Strip
from .table import Comparison
from .views import View, Window


def strips_of(
    comparison: Comparison,
    item: int,
    window: Window,
    low: View,
    high: View,
    views: list[tuple[int, str, View]],
) -> list[Strip]:
    """Return montage, errors and, for a stack, the side view.

    Parameters
    ----------
    comparison : Comparison
    item : int
        Number of the image in `Items`.
    window : Window
    low, high : View
        Noisy and clean, cut like all others.
    views : list of (method, name, View)
    """
    noisy, clean = low.plane, high.plane
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
    shown += [Panel(n, eight_bit(v.plane, black, white), remarks[i]) for i, n, v in views]
    cut = "" if noisy.shape == window.whole else (
        f" Brightest {window.height} x {window.width} of {' x '.join(map(str, window.whole))} "
        "pixels."
    )  # fmt: skip
    bar = scale_bar(window.width, high.pixel_size)
    row = (window.row + 0.5) / window.height
    strips = [Strip("montage", "Images", said + cut, shown, bar, row)]
    if views:
        strips.append(_errors(clean, views))
    if high.side is not None:
        strips.append(_side(low, high, views, (dark, bright), (black, white)))
    return strips


def _remarks(comparison: Comparison, item: int) -> list[str]:
    column = deciding(comparison)
    at = int(np.flatnonzero(column.items == item)[0])
    label, text = column.measure.label, column.measure.text
    return [f"{label} {text(float(values[at]))}" for values in column.values]


def _errors(clean: np.ndarray, views: list[tuple[int, str, View]]) -> Strip:
    errors = [(name, view.plane - clean) for _, name, view in views]
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


def uncertainty(kind: str, found: list[tuple[str, np.ndarray]]) -> Strip | None:
    """Return the std or entropy maps of the methods that have them."""
    if not found:
        return None
    top = float(np.percentile(np.stack([values for _, values in found]), 99.8)) or 1.0
    title, unit = {
        "std": ("Standard deviation of the samples", "counts"),
        "entropy": ("Entropy of the samples", "nats"),
    }[kind]
    panels = [Panel(method, eight_bit(values, 0, top)) for method, values in found]
    said = "Bright: the samples differ. The range is the same for all methods."
    return Strip(kind, title, said, panels, scale=(COLOURS[kind], "0", f"{top:.3g} {unit}"))
