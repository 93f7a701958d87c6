"""Panels on a sheet: rows of pictures, with scale bars, colour bars and text that fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .scale import eight_bit, palette, scale_bar
from .text import Font, drawable, rich_font, shortened, wrapped
from .views import PART, View, Window

#: Pixels: margin and gap, a line of text, a colour bar, and how narrow a column may be.
GAP, LINE, BAR, NARROW = 14, 22, 12, 300
INK, SOFT, FRAME = "#1d2329", "#5b6670", "#ffd21f"
_FONT, _SMALL = 17, 14


@dataclass(frozen=True)
class Panel:
    """One image.

    Attributes
    ----------
    name : str
    view : View
    limits : (float, float)
        What is shown in the first and in the last colour.
    unit : str
    colours : str
        Name of a `palette`.
    """

    name: str
    view: View
    limits: tuple[float, float]
    unit: str
    colours: str = "gray"

    def coloured(self, values: np.ndarray) -> Image.Image:
        """Return (Y, X) values as a picture."""
        return Image.fromarray(palette(self.colours)[eight_bit(values, *self.limits)])


def draw_sheet(
    title: str,
    remarks: list[str],
    rows: list[tuple[str, list[Panel]]],
    window: Window,
    pixel_size: float | None,
) -> Image.Image:
    """Draw everything on white.

    Parameters
    ----------
    title : str
    remarks : list of str
        One paragraph each, below the title.
    rows : list of (str, list of Panel)
        A heading, "" for none, and what stands side by side.
    window : Window
        Part of the plane that the panels show.
    pixel_size : float or None
        Along x, in micrometre.
    """
    zoom = max(1, 384 // max(window.height, window.width))
    column = max(window.width * zoom, NARROW, 0 if window.whole else PART)
    columns = max(len(panels) for _, panels in rows)
    width = columns * (column + GAP) + GAP
    font, small = rich_font(_FONT), rich_font(_SMALL)
    room = width - 2 * GAP
    lines = [line for text in remarks for line in wrapped(drawable(text, small), small, room)]
    blocks = [_block(heading, panels, window, column, zoom, pixel_size) for heading, panels in rows]
    top = GAP + LINE + len(lines) * LINE + GAP
    picture = Image.new("RGB", (width, top + sum(b.height + GAP for b in blocks)), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, GAP), shortened(drawable(title, font), font, room), INK, font)
    for i, line in enumerate(lines):
        draw.text((GAP, GAP + LINE + i * LINE), line, SOFT, small)
    for block in blocks:
        picture.paste(block, (GAP, top))
        top += block.height + GAP
    return picture


def _block(
    heading: str,
    panels: list[Panel],
    window: Window,
    column: int,
    zoom: int,
    pixel_size: float | None,
) -> Image.Image:
    """Draw one row of panels: names, overviews, parts, colour bars."""
    font, small = rich_font(_FONT), rich_font(_SMALL)
    strips = [[panel.coloured(panel.view.part) for panel in panels]]
    strips[0] = [i.resize((i.width * zoom, i.height * zoom), 0) for i in strips[0]]
    steps = [zoom / 1.0]  # pixels of the picture along a pixel of the plane
    if not window.whole:
        small_ones = [p.coloured(p.view.overview) for p in panels if p.view.overview is not None]
        for image in small_ones:
            _frame(image, window)
        strips.insert(0, small_ones)
        steps.insert(0, 1 / window.factor)
    head = LINE * bool(heading)
    height = head + LINE + sum(s[0].height + GAP for s in strips) + BAR + LINE
    block = Image.new("RGB", (len(panels) * (column + GAP) - GAP, height), "white")
    draw = ImageDraw.Draw(block)
    draw.text((0, 0), shortened(drawable(heading, font), font, block.width), INK, font)
    for i, panel in enumerate(panels):
        draw.text((i * (column + GAP), head), drawable(panel.name, font), INK, font)
    top = head + LINE + 4
    for strip, step in zip(strips, steps, strict=True):
        for i, image in enumerate(strip):
            block.paste(image, (i * (column + GAP), top))
        size = pixel_size / step if pixel_size else None
        _scale_bar(draw, strip[0], top, step, size)
        top += strip[0].height + GAP
    for i, panel in enumerate(panels):
        _colour_bar(block, draw, panel, i * (column + GAP), top - GAP + 6, small)
    return block


def _frame(image: Image.Image, window: Window) -> None:
    n = window.factor
    corners = (window.x // n, window.y // n, (window.x + window.width) // n - 1,
               (window.y + window.height) // n - 1)  # fmt: skip
    ImageDraw.Draw(image).rectangle(corners, outline=FRAME, width=2)


def _scale_bar(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    top: int,
    step: float,
    size: float | None,
) -> None:
    """Draw a white bar with a black border into the lower left corner of a panel."""
    if size is None:
        share, label = scale_bar(max(1, round(image.width / step)), None)
        label = label.replace(" (pixel size unknown)", "")
    else:
        share, label = scale_bar(image.width, size)
    left, bottom = 12, top + image.height - 12
    end = left + round(share * image.width)
    draw.rectangle((left - 1, bottom - 7, end + 1, bottom + 1), fill="black")
    draw.rectangle((left, bottom - 6, end, bottom), fill="white")
    font = rich_font(_FONT)
    label = drawable(label, font)
    draw.text((left, bottom - 32), label, "white", font, stroke_width=2, stroke_fill="black")


def _colour_bar(
    block: Image.Image,
    draw: ImageDraw.ImageDraw,
    panel: Panel,
    left: int,
    top: int,
    font: Font,
) -> None:
    ramp = Image.fromarray(palette(panel.colours)[None]).resize((120, BAR), 0)
    low, high = (drawable(f"{v:.4g}".replace("-", "−"), font) for v in panel.limits)
    draw.text((left, top - 3), low, SOFT, font)
    left += round(font.getlength(low)) + 6
    block.paste(ramp, (left, top))
    draw.rectangle((left - 1, top - 1, left + 120, top + BAR), outline=SOFT)
    draw.text((left + 126, top - 3), f"{high} {panel.unit}", SOFT, font)
