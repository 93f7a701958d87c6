"""Charts: distributions of the measures, averaging, calibration, line profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .drawing import INK, SOFT, TEXT, WIDTH, canvas, colour, legend_below, place, set_ticks, wrapped
from .measures import Measure
from .table import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More points than this per method only make a figure heavy: evenly spaced quantiles are drawn.
MOST_POINTS = 60
_ROW = 34


def distribution(column: Column, names: list[str]) -> Figure:
    """Draw one measure: a box and points per method, the best median, and stars.

    The box is the middle half, the whiskers reach from 5 to 95 %.

    Parameters
    ----------
    column : Column
    names : list of str
        Of the methods, in the order of the column's cells.
    """
    shown = column.present
    labels = [wrapped(names[i]) for i in shown]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    left, tall = 16 + 7.4 * longest, _ROW * len(shown)
    figure = canvas(WIDTH, tall + 76)
    axes = place(figure, left, 36, WIDTH - left - 44, tall)
    for row, i in enumerate(shown):
        values = column.values[i][np.isfinite(column.values[i])]
        if len(values):
            _box(axes, row, values, colour(i))
        cell, text = column.cells[i], ""
        if i == column.against:
            text = "best" if i == column.best else "ref."
        elif cell.mood:
            text = cell.mood.stars
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center",
                  fontsize=TEXT - 1, color=SOFT if i == column.against else INK)  # fmt: skip
    if column.best is not None and np.isfinite(column.cells[column.best].median):
        axes.axvline(column.cells[column.best].median, color=colour(column.best),
                     linestyle=(0, (4, 3)), linewidth=1.3, zorder=1)  # fmt: skip
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks(range(len(shown)), labels, fontsize=TEXT - 0.5)
    axes.tick_params(axis="y", length=0)
    set_ticks(axes.xaxis, 4)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    figure.text(16 / WIDTH, 1 - 22 / (tall + 76), column.measure.title, fontsize=14,
                fontweight="bold")  # fmt: skip
    return figure


def _box(axes: Axes, row: int, values: np.ndarray, tone: str) -> None:
    low, first, median, third, high = np.percentile(values, [5, 25, 50, 75, 95])
    axes.plot([low, high], [row, row], color=tone, linewidth=1.2, zorder=2)
    axes.barh(row, third - first, 0.46, left=first, color=tone, alpha=0.3, zorder=2)
    axes.plot([median, median], [row - 0.3, row + 0.3], color=tone, linewidth=2.6, zorder=4)
    points = np.sort(values)
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)]
    spread = (np.arange(len(points)) * 0.618) % 1 - 0.5  # even, and the same every time
    axes.plot(points, row + 0.4 * spread, "o", color=tone, markersize=2.4, alpha=0.55, zorder=3)


def averaging(measure: Measure, curves: list[tuple[int, str, dict[int, list[float]]]]) -> Figure:
    """Draw one measure against the number of averaged samples (the paper's Fig. S1).

    Parameters
    ----------
    measure : Measure
    curves : list of (method, name, values by number of samples)
        The line is the mean; the band the standard deviation, where there are several values.
    """
    below = 22 * len(curves) + 6
    figure = canvas(WIDTH, 262 + below)
    axes = place(figure, 86, 36, WIDTH - 106, 184)
    for method, _, curve in curves:
        counts = sorted(curve)
        mean = np.array([np.mean(curve[n]) for n in counts])
        std = np.array([np.std(curve[n]) for n in counts])
        axes.plot(counts, mean, "o-", color=colour(method), linewidth=2, markersize=4,
                  label=str(method))  # fmt: skip
        if std.any():
            axes.fill_between(
                counts, mean - std, mean + std, color=colour(method), alpha=0.18, lw=0
            )
    axes.set_title(measure.title, x=-70 / (WIDTH - 106), fontsize=14)
    axes.set_xlabel("averaged samples")
    set_ticks(axes.xaxis, 6, integer=True)
    set_ticks(axes.yaxis, 5)
    axes.grid()
    legend_below(figure, axes, [name for _, name, _ in curves])
    return figure


def spread_skill(curves: list[tuple[int, str, np.ndarray, np.ndarray]]) -> Figure:
    """Draw the error that was found against the error that the std map promised.

    Parameters
    ----------
    curves : list of (method, name, promised, found)
        Both (B,) float64 in counts, one value per class of pixels.
    """
    below = 22 * (len(curves) + 1) + 6
    figure = canvas(WIDTH, 352 + below)
    axes = place(figure, 86, 36, WIDTH - 106, 274)
    top = max(float(max(promised.max(), found.max())) for _, _, promised, found in curves) * 1.06
    axes.plot([0, top], [0, top], color=SOFT, linestyle=(0, (4, 3)), label="calibrated")
    for method, _, promised, found in curves:
        axes.plot(promised, found, "o-", color=colour(method), linewidth=2, markersize=4,
                  label=str(method))  # fmt: skip
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    set_ticks(axes.xaxis, 5, prune="lower")
    set_ticks(axes.yaxis, 5)
    axes.set_title("Spread against error", x=-70 / (WIDTH - 106), fontsize=14)
    axes.set_xlabel("spread: error that the std map promises (counts)")
    axes.set_ylabel("skill: error found (counts)")
    axes.grid()
    legend_below(figure, axes, ["calibrated: above the line, over-confident"]
                 + [name for _, name, _, _ in curves])  # fmt: skip
    return figure


def profiles(
    lines: list[tuple[int, str, np.ndarray]], truth: np.ndarray, step: float, unit: str
) -> Figure:
    """Draw the values along one row: every method in its own strip, the clean image behind it.

    Parameters
    ----------
    lines : list of (method, name, (X,) float)
        In counts.
    truth : (X,) float
        The clean image.
    step : float
        Distance of two pixels.
    unit : str
        Of `step`.
    """
    tall, gap = 46, 26
    figure = canvas(WIDTH, (tall + gap) * len(lines) + 52)
    x = np.arange(len(truth)) * step
    for k, (method, name, values) in enumerate(lines):
        axes = place(figure, 66, 24 + k * (tall + gap), WIDTH - 90, tall)
        axes.fill_between(x, truth, float(truth.min()), color=SOFT, alpha=0.28, lw=0)
        axes.plot(x, truth, color=SOFT, linewidth=1)
        axes.plot(x, values, color=colour(method), linewidth=1.6)
        axes.set_xlim(0, x[-1])
        axes.set_title(wrapped(name, 50).split("\n")[0], fontsize=TEXT, fontweight="normal",
                       color=colour(method), pad=4)  # fmt: skip
        set_ticks(axes.yaxis, 2)
        set_ticks(axes.xaxis, 6)
        axes.tick_params(labelbottom=k == len(lines) - 1, labelsize=TEXT - 1)
    axes.set_xlabel(f"position ({unit}); grey: the clean image; heights in counts")
    return figure
