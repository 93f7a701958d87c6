"""Read one plane of an image, and find the part of it that is worth looking at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.images import read_image
from ..errors import DataError

#: Side of what is shown of a large image, as in the paper.
CROP = 256


@dataclass
class View:
    """What is kept of one file.

    Attributes
    ----------
    plane : (Y, X) float32
        The whole plane or, after `cut`, what is shown of it; in counts.
    planes : int
        Of the stack it comes from.
    side : (P, X) float32 or None
        The stack seen from the side, at the row of the profile.
    pixel_size : float or None
        Along x, in micrometre.
    """

    plane: np.ndarray
    planes: int
    side: np.ndarray | None
    pixel_size: float | None

    def cut(self, window: Window) -> View:
        """Return the part that is shown, without the memory of the rest."""
        return replace(self, plane=window.of(self.plane).copy())


@dataclass
class Window:
    """Part of a plane that is shown.

    Attributes
    ----------
    y, x, height, width : int
        Its first row and column, and its size.
    row : int
        Of the line profile, counted from `y`.
    whole : (int, int)
        Size of the whole plane.
    """

    y: int
    x: int
    height: int
    width: int
    row: int
    whole: tuple[int, int]

    def of(self, plane: np.ndarray) -> np.ndarray:
        """Return the part of a (Y, X) plane that is shown."""
        return plane[self.y : self.y + self.height, self.x : self.x + self.width]


def read_view(path: Path, plane: str, window: Window | None = None) -> View:
    """Read one plane, its first channel; with a window also the side of its stack.

    Raises
    ------
    DataError
        If the file cannot be read or has no such plane.
    """
    image = read_image(path)
    if "c" in image.dims:
        image = image.isel(c=0)
    stack = image.values.reshape(-1, *image.shape[-2:])  # (P, Y, X)
    at = int(plane) if plane.isdecimal() else 0
    if at >= len(stack):
        raise DataError(f"{path}: has {len(stack)} planes, but no plane {at}", "evaluate it again")
    side = None
    if window and len(stack) > 1 and "z" in image.dims and image.sizes.get("t", 1) == 1:
        columns = slice(window.x, window.x + window.width)
        side = stack[:, window.y + window.row, columns].astype(np.float32)
    size = image.attrs.get("pixel_size")
    return View(stack[at].astype(np.float32), len(stack), side, size[1] if size else None)


def brightest(clean: np.ndarray) -> Window:
    """Return the brightest part of a (Y, X) image, and the row of its brightest structure."""
    height, width = (min(CROP, n) for n in clean.shape)
    y, x = (int(n) for n in _argmax(_sums(clean, height, width)))
    part = clean[y : y + height, x : x + width]
    k = min(5, height, width)  # a structure, not a single bright pixel
    row = int(_argmax(_sums(part, k, k))[0]) + k // 2
    return Window(y, x, height, width, row, (clean.shape[0], clean.shape[1]))


def _sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the sums over all windows of a size, by differences of cumulated sums."""
    total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = total[height:] - total[:-height]
    return np.asarray(rows[:, width:] - rows[:, :-width])


def _argmax(values: np.ndarray) -> tuple[np.intp, ...]:
    return np.unravel_index(int(values.argmax()), values.shape)
