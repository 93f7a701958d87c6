"""Pictures: the cover of a package, and results side by side."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 6
BAND = 30


def to_grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map a (Y, X) image to 8 bit, `low` to black and `high` to white."""
    scaled = (image.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def side_by_side(
    panels: list[tuple[str, np.ndarray]], width: int, height: int, pixel_size: float | None = None
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
    """
    picture = Image.new("L", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=16)
    each = (width - GAP * (len(panels) - 1)) // len(panels)
    for i, (label, values) in enumerate(panels):
        left = i * (each + GAP)
        scale = max(each / values.shape[1], (height - BAND) / values.shape[0])
        h, w = round((height - BAND) / scale), round(each / scale)
        y, x = (values.shape[0] - h) // 2, (values.shape[1] - w) // 2
        tile = Image.fromarray(values[y : y + h, x : x + w]).resize((each, height - BAND))
        picture.paste(tile, (left, BAND))
        draw.text((left + 4, 5), label, fill="black", font=font)
        if i == 0 and pixel_size:
            _scale_bar(draw, left, height, each, pixel_size / scale, font)
    return picture


def _scale_bar(draw, left: int, height: int, each: int, per_pixel: float, font) -> None:  # type: ignore[no-untyped-def]
    target = each * per_pixel / 4  # a quarter of the panel, rounded down to 1, 2 or 5
    power = 10 ** np.floor(np.log10(target))
    length = max(m * power for m in (1, 2, 5) if m * power <= target)
    end = left + 12 + round(length / per_pixel)
    draw.rectangle((left + 12, height - 18, end, height - 13), fill="white")
    draw.text((left + 12, height - 40), f"{length:g} µm", fill="white", font=font)


def cover_png(raw: np.ndarray, denoised: np.ndarray, std: np.ndarray, size: float | None) -> bytes:
    """Return the 2:1 cover: noisy, denoised, uncertainty of one (Y, X) field."""
    low, high = np.percentile(denoised, [0.5, 99.8])
    picture = side_by_side(
        [
            ("noisy", to_grey(raw, low, high)),
            ("denoised", to_grey(denoised, low, high)),
            ("uncertainty (std)", to_grey(std, 0, float(np.percentile(std, 99.8)))),
        ],
        1000,
        500,
        size,
    )
    stream = BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
