"""Pictures: the covers of a package, and results side by side."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from ..display.scale import BRIGHT, DARK, eight_bit, scale_bar
from ..display.text import drawable, plain_font

GAP = 6
BAND = 30
#: Bytes that the zoo takes, less than which a cover has to be.
MOST_BYTES = 500_000


def side_by_side(
    panels: list[tuple[str, np.ndarray]],
    width: int,
    height: int,
    pixel_size: float | None = None,
    rows: int = 1,
) -> Image.Image:
    """Draw labelled panels next to each other.

    Parameters
    ----------
    panels : list of (label, (Y, X) uint8)
        Each is cropped around its centre to the panel's shape and scaled, pixels kept square.
    width, height : int
        Of the whole picture, in pixels.
    pixel_size : float, optional
        Micrometres per pixel; draws a scale bar into the first panel.
    rows : int
        Rows of panels.
    """
    picture = Image.new("L", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    font = plain_font(16)
    columns = -(-len(panels) // rows)
    each = (width - GAP * (columns - 1)) // columns
    tall = height // rows
    for i, (label, values) in enumerate(panels):
        left, top = i % columns * (each + GAP), i // columns * tall
        scale = max(each / values.shape[1], (tall - BAND) / values.shape[0])
        h, w = round((tall - BAND) / scale), round(each / scale)
        y, x = (values.shape[0] - h) // 2, (values.shape[1] - w) // 2
        tile = Image.fromarray(values[y : y + h, x : x + w]).resize((each, tall - BAND))
        picture.paste(tile, (left, top + BAND))
        draw.text((left + 4, top + 5), drawable(label, font), fill="black", font=font)
        if i == 0 and pixel_size:
            _scale_bar(draw, left, top + tall, each, pixel_size / scale, font)
    return picture


def _scale_bar(draw, left: int, bottom: int, each: int, per_pixel: float, font) -> None:  # type: ignore[no-untyped-def]
    share, label = scale_bar(each, per_pixel, 4)
    end = left + 12 + round(share * each)
    draw.rectangle((left + 12, bottom - 18, end, bottom - 13), fill="white")
    draw.text((left + 12, bottom - 40), drawable(label, font), fill="white", font=font)


def _png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG", optimize=True)
    if stream.tell() >= MOST_BYTES:  # much noise does not compress
        return _png(picture.resize((picture.width * 4 // 5, picture.height * 4 // 5)))
    return stream.getvalue()


def cover_png(planes: tuple[np.ndarray, ...], size: float | None) -> bytes:
    """Return the 2:1 cover: noisy, denoised, uncertainty of one field.

    Parameters
    ----------
    planes : (Y, X) arrays
        Noisy, denoised, std, entropy.
    size : float or None
        Micrometres per pixel.
    """
    raw, denoised, std, _ = planes
    low, high = np.percentile(denoised, [DARK, BRIGHT])
    panels = [
        ("noisy", eight_bit(raw, low, high)),
        ("denoised", eight_bit(denoised, low, high)),
        ("uncertainty (std)", eight_bit(std, 0, float(np.percentile(std, BRIGHT)))),
    ]
    return _png(side_by_side(panels, 1000, 500, size))


def uncertainty_png(planes: tuple[np.ndarray, ...]) -> bytes:
    """Return the 1:1 second cover: the middle of the field, twice as large, with both maps.

    Parameters
    ----------
    planes : (Y, X) arrays
        Noisy, denoised, std, entropy.
    """
    middle = []
    for plane in planes:
        y, x = (n // 4 for n in plane.shape)
        middle.append(plane[y : plane.shape[0] - y, x : plane.shape[1] - x])
    raw, denoised, std, entropy = middle
    low, high = np.percentile(denoised, [DARK, BRIGHT])
    panels = [
        ("noisy", eight_bit(raw, low, high)),
        ("denoised", eight_bit(denoised, low, high)),
        ("std: where samples differ", eight_bit(std, 0, float(np.percentile(std, BRIGHT)))),
        ("entropy: how many values they take", eight_bit(entropy, 0, max(entropy.max(), 1e-6))),
    ]
    return _png(side_by_side(panels, 800, 800, rows=2))
