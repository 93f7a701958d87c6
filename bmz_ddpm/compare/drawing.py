"""Figures as SVG, in inks that a page can exchange for light and dark."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, SOFT, LINE = "#1d2329", "#5b6670", "#d6dce1"
#: What a page calls these inks.
_NAMES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)"}
#: Readable on white and on black; one per method, then from the start.
_COLOURS = (
    "#0f7dc2", "#d1600a", "#2a9d5c", "#c2388f", "#8a63d2",
    "#b08900", "#159a9a", "#d64545", "#7a8794", "#5f9e1a",
)  # fmt: skip
WIDTH = 460
TEXT = 12

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and edited for a paper
    "svg.hashsalt": "bmz-ddpm",
    "text.parse_math": False,  # a method may be called $x$
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.dpi": 72,  # one point is one pixel of the page
    "savefig.dpi": 72,
}


def colour(method: int) -> str:
    """Return the colour of a method, the same in all figures."""
    return _COLOURS[method % len(_COLOURS)]


def require_matplotlib() -> None:
    """Refuse to start what cannot be finished.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependency("matplotlib", "evaluate", "bmz-ddpm compare") from error


@contextmanager
def drawing() -> Iterator[None]:
    """Draw everything inside in our style."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # no matplotlibrc of the user: same inputs, same figures
        matplotlib.rcParams.update(_STYLE)  # type: ignore[arg-type,unused-ignore]
        warnings.filterwarnings("ignore", message="Glyph")  # the page has the fonts
        yield


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72))


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in pixels from the upper left corner."""
    w, h = figure.get_size_inches() * 72
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def set_ticks(axis: Axis, count: int, integer: bool = False, prune: str | None = None) -> None:
    """Put at most `count` ticks at round numbers; no label is wide, and none needs a factor."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    places: Any = {"steps": [1, 2, 5, 10], "integer": integer, "prune": prune}
    if count < 3:
        places["min_n_ticks"] = 1  # else it would rather have four than one, and they overlap
    axis.set_major_locator(MaxNLocator(count, **places))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.5g}".replace("-", "−")))


def wrapped(name: str, width: int = 20) -> str:
    """Return a name on at most two lines of `width` letters, with … for what is too much."""
    lines = textwrap.wrap(name, width) or [""]
    if len(lines) > 2:
        lines = [lines[0], lines[1][: width - 1] + "…"]
    return "\n".join(lines)


def legend_below(figure: Figure, axes: Axes, names: list[str]) -> None:
    """Write the names of the lines below the axes, one per row."""
    figure.legend(
        axes.get_lines(),
        [wrapped(name, 56).split("\n")[0] for name in names],
        loc="lower left",
        bbox_to_anchor=(0.02, 0.0),
        frameon=False,
        borderaxespad=0.2,
        labelspacing=0.35,
    )


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG file: dark ink on white, the same every time."""
    stream = BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing, facecolor="white")
    return stream.getvalue().decode()


def inline(svg: str, name: str, describe: str) -> str:
    """Return an SVG for the inside of a page: no white ground, inks by name, ids of its own.

    Parameters
    ----------
    svg : str
        From `to_svg`.
    name : str
        Letters and digits; unlike that of all other figures on the page.
    describe : str
        For those who cannot see it; already escaped.
    """
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    body = body.replace("fill: #ffffff", "fill: none", 1)  # the ground
    for ink, called in _NAMES.items():
        body = body.replace(ink, called)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{describe}">{body}'
    )
