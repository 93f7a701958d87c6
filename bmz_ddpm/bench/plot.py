"""The figure: time of a pass and of the sampler in every engine, and how it scales."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..compare.drawing import canvas, colour, drawing, place, set_ticks, to_svg
from .engines import ENGINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 760, 300


def figures(result: dict[str, Any]) -> dict[str, bytes]:
    """Return bench.svg and bench.png."""
    with drawing():
        figure = canvas(WIDTH, HEIGHT)
        whole = result["graph"] | result["peer"]
        order = list(result["pass"] | whole)  # an engine has one colour in both panels
        _bars(place(figure, 190, 40, 170, 200), "One pass, ms", result["pass"], 1e3, order)
        _bars(place(figure, 560, 40, 170, 200), "Whole sampler, s", whole, 1.0, order)
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=144, facecolor="white")
        return {"bench.svg": to_svg(figure).encode(), "bench.png": stream.getvalue()}


def _bars(axes: Axes, title: str, rows: dict[str, Any], factor: float, order: list[str]) -> None:
    """One bar per row, its quartiles as a line."""
    names = [ENGINES.get(name, name) for name in rows]
    for i, (name, row) in enumerate(rows.items()):
        low, median, high = (factor * row[k] for k in ("low", "median", "high"))
        spread = [[max(median - low, 0.0)], [max(high - median, 0.0)]]
        axes.barh(i, median, xerr=spread, color=colour(order.index(name)), height=0.6)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title(title)
    set_ticks(axes.xaxis, 4)
