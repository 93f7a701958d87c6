"""Images as panels with captions: the parts of a page, and one figure of them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .drawing import SOFT, TEXT, canvas, place, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Side of a panel in a figure, in pixels.
_SIDE, _GAP = 170, 12


@dataclass
class Panel:
    """One image.

    Attributes
    ----------
    name, remark : str
        Written over it and below it.
    pixels : (Y, X) uint8
        Places in the colour map of its strip.
    """

    name: str
    pixels: np.ndarray
    remark: str = ""


@dataclass
class Strip:
    """Panels of one kind that share a range of display.

    Attributes
    ----------
    kind : str
        Part of the name of its figure.
    title, remark : str
    panels : list of Panel
    bar : (float, str) or None
        Scale bar of the first panel: its length as a share of the width, and what it says.
    row : float or None
        Where the line profile runs in the first panel, as a share of the height.
    scale : (str, str, str) or None
        Colours of the colour bar by their name in matplotlib, and its two ends.
    """

    kind: str
    title: str
    remark: str
    panels: list[Panel]
    bar: tuple[float, str] | None = None
    row: float | None = None
    scale: tuple[str, str, str] | None = None


#: Pixels of a colour bar.
RAMP = np.arange(256, dtype=np.uint8)[None]


def data_uri(pixels: np.ndarray, name: str = "gray") -> str:
    """Return a PNG inside an address.

    Parameters
    ----------
    pixels : (Y, X) uint8
    name : str
        Colour map of matplotlib; its 256 colours become the palette, which keeps the file small.
    """
    from matplotlib import colormaps

    image = Image.fromarray(pixels)
    if name != "gray":
        image.putpalette(colormaps[name](RAMP[0], bytes=True)[:, :3].tobytes())
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(stream.getvalue()).decode()


def figure_of(strip: Strip, columns: int = 5) -> Figure:
    """Draw a strip as one figure, for a paper or a talk."""
    names = [wrapped(panel.name, 20) for panel in strip.panels]
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    y, x = strip.panels[0].pixels.shape[:2]
    tall = _SIDE * y / x
    head, foot = 36, (44 if strip.scale else 26 if strip.bar else 8)
    width = max(columns, 2) * (_SIDE + _GAP) + _GAP
    figure = canvas(width, rows * (tall + head) + foot)
    for i, (panel, name) in enumerate(zip(strip.panels, names, strict=True)):
        left = _GAP + i % columns * (_SIDE + _GAP)
        axes = place(figure, left, i // columns * (tall + head) + head, _SIDE, tall)
        axes.imshow(panel.pixels, cmap=strip.scale[0] if strip.scale else "gray", vmin=0, vmax=255,
                    aspect="auto")  # fmt: skip
        axes.set_axis_off()
        axes.set_title(name, fontsize=TEXT - 0.5, fontweight="normal", pad=4)
        if i == 0 and strip.row is not None:
            axes.axhline(strip.row * y - 0.5, color="#ffd21f", linestyle="--", linewidth=1.2)
        if i == 0 and strip.bar:
            start = 0.05 * x
            axes.plot([start, start + strip.bar[0] * x], [0.93 * y] * 2, color="white", linewidth=4,
                      solid_capstyle="butt")  # fmt: skip
            axes.set(xlim=(-0.5, x - 0.5), ylim=(y - 0.5, -0.5))
    height = figure.get_size_inches()[1] * 72
    if strip.bar:
        figure.text(_GAP / width, 9 / height, f"bar: {strip.bar[1]}", fontsize=TEXT - 1)
    if strip.scale:
        _draw_scale(figure, strip.scale, width, height)
    return figure


def _draw_scale(figure: Figure, scale: tuple[str, str, str], width: float, height: float) -> None:
    name, low, high = scale
    axes = place(figure, _GAP, height - 34, 2 * _SIDE, 10)
    axes.imshow(RAMP, cmap=name, aspect="auto")
    axes.set(xticks=[], yticks=[])
    for at, align, text in ((_GAP, "left", low), (_GAP + 2 * _SIDE, "right", high)):
        figure.text(at / width, 7 / height, text, ha=align, fontsize=TEXT - 1, color=SOFT)
