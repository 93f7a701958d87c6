"""The contact sheet: every pair on one tile, before and after, to be judged by eye."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.images import image_name
from ..display.scale import eight_bit
from ..display.text import shortened
from .examine import Finding, Views

if TYPE_CHECKING:
    from PIL import Image

#: Pixels: side of a panel, gap, height of a line of text.
PANEL, GAP, LINE = 220, 8, 20
TILE_WIDTH, TILE_HEIGHT = 3 * PANEL + 2 * GAP, PANEL + 3 * LINE
COLUMNS, ROWS = 2, 5
#: Tiles that are drawn in all.
LIMIT = 100
#: Pixels of the image that a close-up shows.
CLOSE = 110
COLOURS = {"registered": "#00703c", "unchanged": "#1d4f91", "rejected": "#c00000"}
LEGEND = (
    "magenta: noisy image    green: clean image    white: both agree    grey: no clean data\n"
    "left: whole field, afterwards (frame: the close-up)    middle: close-up before    "
    "right: close-up after"
)


@dataclass(frozen=True)
class Tile:
    """One pair, drawn.

    Attributes
    ----------
    picture : Image
    order : tuple
        The most doubtful pairs come first.
    """

    picture: Image.Image
    order: tuple[bool, float]


def draw_tile(finding: Finding, views: Views | None) -> Tile:
    """Draw one pair.

    Parameters
    ----------
    finding : Finding
    views : Views or None
        None where the images could not be read.
    """
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (TILE_WIDTH, TILE_HEIGHT), "white")
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(size=15)
    pair = finding.pair
    name = image_name(pair.low)
    title = name if name.startswith(pair.fov) else f"{pair.fov}: {name}"
    draw.text((0, 0), shortened(title, font, TILE_WIDTH), fill="black", font=font)
    colour = COLOURS[finding.verdict]
    verdict = finding.verdict + (f": {finding.reason}" if finding.reason else "")
    if views is None:
        text = "\n".join(textwrap.wrap(verdict, 75))
        draw.multiline_text((GAP, 3 * LINE + GAP), text, colour, font, spacing=4)
    else:
        draw.text((0, LINE), shortened(_values(finding), font, TILE_WIDTH), fill="black", font=font)
        draw.text((0, 2 * LINE), shortened(verdict, font, TILE_WIDTH), fill=colour, font=font)
        for i, panel in enumerate(_panels(views)):
            tile.paste(panel, (i * (PANEL + GAP), 3 * LINE))
    draw.rectangle((0, 3 * LINE, TILE_WIDTH - 1, TILE_HEIGHT - 1), outline=colour, width=2)
    return Tile(tile, (not finding.rejected, finding.after))


def _values(finding: Finding) -> str:
    m = finding.movement
    return (
        f"shift y {m.shift_y:+.2f}, x {m.shift_x:+.2f} pixels   rotation {m.rotation:+.2f}°   "
        f"similarity {finding.before:.3f} to {finding.after:.3f}"
    )


def sheets(tiles: list[Tile], total: int) -> list[Image.Image]:
    """Lay out tiles on as many sheets as needed, the most doubtful pairs first.

    Parameters
    ----------
    tiles : list of Tile
    total : int
        Pairs there are, of which `tiles` may show the first.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=15)
    tiles = sorted(tiles, key=lambda tile: tile.order)
    each = COLUMNS * ROWS
    made = []
    for first in range(0, len(tiles), each):
        shown = tiles[first : first + each]
        columns, rows = min(COLUMNS, len(shown)), -(-len(shown) // COLUMNS)
        size = (
            columns * (TILE_WIDTH + 2 * GAP) + GAP,
            rows * (TILE_HEIGHT + 2 * GAP) + 3 * LINE + 2 * GAP,
        )
        sheet = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(sheet)
        head = f"pairs {first + 1} to {first + len(shown)} of {total}: rejected ones first, "
        head += "then by similarity, the least first"
        draw.multiline_text((GAP, GAP), f"{head}\n{LEGEND}", "black", font, spacing=4)
        for i, tile in enumerate(shown):
            left = GAP + i % columns * (TILE_WIDTH + 2 * GAP)
            top = 3 * LINE + 2 * GAP + i // columns * (TILE_HEIGHT + 2 * GAP)
            sheet.paste(tile.picture, (left, top))
        made.append(sheet)
    return made


def doubtful(tiles: list[Tile]) -> list[Tile]:
    """Return the tiles there is room for."""
    return sorted(tiles, key=lambda tile: tile.order)[:LIMIT]


def _panels(views: Views) -> list[Image.Image]:
    from PIL import Image, ImageDraw

    low, high, moved = (_grey(image) for image in views[:3])
    after = _overlay(low, moved)
    after[~views.valid] = 128
    y, x, side = _close_up(views)
    window = (slice(y, y + side), slice(x, x + side))
    rows, columns = low.shape
    scale = PANEL / max(rows, columns)
    field = Image.new("RGB", (PANEL, PANEL), "white")
    whole = Image.fromarray(after).resize((round(columns * scale), round(rows * scale)))
    left, top = (PANEL - whole.width) // 2, (PANEL - whole.height) // 2
    field.paste(whole, (left, top))
    frame = (left + x * scale, top + y * scale)
    ImageDraw.Draw(field).rectangle(
        (*frame, frame[0] + side * scale - 1, frame[1] + side * scale - 1), outline="white"
    )
    closer = [
        Image.fromarray(image).resize((PANEL, PANEL), Image.Resampling.BICUBIC)
        for image in (_overlay(low, high)[window], after[window])
    ]
    return [field, *closer]


def _grey(image: np.ndarray) -> np.ndarray:
    """Map a structure to 8 bit, its middle value to black."""
    return eight_bit(image, *np.percentile(image, (50, 99.7)))


def _overlay(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return (Y, X, 3): magenta and green, which colour-blind people can tell apart too."""
    return np.stack([low, high, low], -1)


def _close_up(views: Views) -> tuple[int, int, int]:
    """Return the corner and side of the square that shows most."""
    rows, columns = views.high.shape
    side = min(CLOSE, rows, columns)
    light = np.where(views.valid, np.abs(views.moved), 0).cumsum(0).cumsum(1)
    sums = np.pad(light, ((1, 0), (1, 0)))
    step = max(1, side // 8)
    y, x = np.arange(0, rows - side + 1, step)[:, None], np.arange(0, columns - side + 1, step)
    inside = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    best = np.unravel_index(inside.argmax(), inside.shape)
    return int(y[best[0], 0]), int(x[best[1]]), side
