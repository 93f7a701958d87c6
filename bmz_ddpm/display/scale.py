"""Ranges of display, colours and scale bars: the same in every picture."""

from __future__ import annotations

import numpy as np

#: Percentiles of an image that are shown black and white.
DARK, BRIGHT = 0.5, 99.8
#: Colours from low to high; the maps of these names, public domain (CC0).
_STOPS = {
    "gray": ("#000000", "#ffffff"),
    "magma": ("#000004", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55964", "#fb8861",
              "#fec287", "#fcfdbf"),
    "viridis": ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962",
                "#addc30", "#fde725"),
}  # fmt: skip
#: How the outputs of a model are coloured.
COLOURS = {"std": "magma", "entropy": "viridis"}


def eight_bit(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map a (Y, X) image to 8 bit, `low` to 0 and `high` to 255."""
    share = (image.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def grey_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the grey levels that are shown black and white; NaN and infinity do not count."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [DARK, BRIGHT])
    return float(low), float(max(high, low + 1e-6))


def spread_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the range of a map that starts at 0: std, entropy, the length of an interval."""
    high = grey_limits(values)[1]
    return 0.0, high if high > 1e-6 else 1.0


def palette(name: str) -> np.ndarray:
    """Return the 256 colours of "gray", "magma" or "viridis": (256, 3) uint8."""
    stops = np.array([list(bytes.fromhex(stop[1:])) for stop in _STOPS[name]], float)
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, stops[:, i]) for i in range(3)]
    return np.rint(np.stack(channels, 1)).astype(np.uint8)


def scale_bar(width: int, pixel_size: float | None, share: float = 3.5) -> tuple[float, str]:
    """Return the length of a scale bar as a share of the width, and its label.

    Parameters
    ----------
    width : int
        Pixels of the panel.
    pixel_size : float or None
        In micrometre; None: the bar is in pixels, and its label says so.
    share : float
        The bar fits at least so many times into the width.
    """
    step = pixel_size or 1.0
    target = width * step / share
    power = 10.0 ** np.floor(np.log10(target))
    length = max(m * power for m in (1, 2, 5) if m * power <= target * 1.0001)
    part = float(length / step / width)
    if pixel_size is None:
        return part, f"{length:g} pixels (pixel size unknown)"
    return part, f"{length:g} µm" if length >= 1 else f"{length * 1000:g} nm"
