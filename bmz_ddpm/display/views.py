"""What a preview shows of an image: one plane, a part of it as it is, and the whole made smaller.

Nothing else is read: a plane goes by in strips, so that an image of any size, opened lazily, can
be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..errors import ConfigError

#: Planes up to this side are shown whole, of larger ones a square of `PART`; both in pixels.
WHOLE, PART = 640, 512
#: Pixels of a strip, and those that decide about the range of display.
_STRIP, _ENOUGH = 4_000_000, 1_000_000


@dataclass(frozen=True)
class Window:
    """Which part of a plane is shown as it is.

    Attributes
    ----------
    y, x, height, width : int
        Its first row and column, and its size.
    plane : (int, int)
        Size of the whole plane.
    """

    y: int
    x: int
    height: int
    width: int
    plane: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Is this all of it?"""
        return (self.height, self.width) == self.plane

    @property
    def factor(self) -> int:
        """Pixels of the plane along a pixel of the overview."""
        return -(-max(self.plane) // PART)


def choose_window(plane: tuple[int, int], centre: tuple[int, int] | None = None) -> Window:
    """Return all of a small plane, a square of a large one.

    Parameters
    ----------
    plane : (int, int)
        Rows and columns.
    centre : (int, int), optional
        Row and column, from 0; the middle by default. A square that would reach beyond the
        border is moved inside.

    Raises
    ------
    ConfigError
        If there is no such pixel.
    """
    rows, columns = plane
    if centre is not None and not (0 <= centre[0] < rows and 0 <= centre[1] < columns):
        raise ConfigError(
            f"--preview-at {centre[0]},{centre[1]}: lies outside of the image, which has "
            f"{rows} x {columns} pixels",
            f"choose a row from 0 to {rows - 1} and a column from 0 to {columns - 1}",
        )
    if centre is None and max(plane) <= WHOLE:
        return Window(0, 0, rows, columns, plane)
    y, x = centre or (rows // 2, columns // 2)
    height, width = min(PART, rows), min(PART, columns)
    top = min(max(y - height // 2, 0), rows - height)
    left = min(max(x - width // 2, 0), columns - width)
    return Window(top, left, height, width, plane)


@dataclass(frozen=True)
class View:
    """What was read of a plane.

    Attributes
    ----------
    part : (Y, X) float32
        The window.
    overview : (Y, X) float32 or None
        The whole plane, squares of `Window.factor` pixels averaged; None where the window is
        all of it.
    sample : (K,) float32
        Pixels on an even grid over the whole plane.
    """

    part: np.ndarray
    overview: np.ndarray | None
    sample: np.ndarray


def middle_plane(image: xr.DataArray) -> xr.DataArray:
    """Return the plane in the middle of z and of t; its axes are c (if there are any), y, x."""
    image = image.isel({d: image.sizes[d] // 2 for d in "tz" if d in image.dims})
    return image.transpose(*[d for d in "cyx" if d in image.dims])


def read_view(plane: xr.DataArray, window: Window) -> View:
    """Read a plane with axes y, x."""
    inside = {"y": slice(window.y, window.y + window.height)}
    inside["x"] = slice(window.x, window.x + window.width)
    part = np.asarray(plane.isel(inside).values, np.float32)
    if window.whole:
        return View(part, None, part.ravel())
    rows, columns = window.plane
    factor = window.factor
    step = max(1, round((rows * columns / _ENOUGH) ** 0.5))
    height = factor * max(1, _STRIP // (columns * factor))
    averaged, sample = [], []
    for top in range(0, rows, height):
        strip = np.asarray(plane.isel(y=slice(top, top + height)).values, np.float32)
        averaged.append(_averaged(strip, factor))
        sample.append(strip[-top % step :: step, ::step].ravel())
    return View(part, np.concatenate(averaged), np.concatenate(sample))


def _averaged(strip: np.ndarray, factor: int) -> np.ndarray:
    """Average squares; at the border they are smaller."""
    for axis in (0, 1):
        starts = np.arange(0, strip.shape[axis], factor)
        counts = np.diff([*starts, strip.shape[axis]])
        sums = np.add.reduceat(strip, starts, axis, dtype=np.float64)
        strip = sums / (counts[:, None] if axis == 0 else counts)
    return strip.astype(np.float32)
