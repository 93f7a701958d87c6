"""Cut a plane into overlapping tiles on a fixed grid, and put the inner parts together.

All tiles have the same outer size and start at multiples of the same stride, and the plane is
mirrored beyond its borders instead of shifting the last tile back. So a pixel lies at the same
place of the network's pixel grid in every tiling, which is what makes tiles and the whole image
agree (with the noise keyed on content).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

#: Tiles start at multiples of this: the coarsest grid of the networks, and the noise's period.
GRID = 32


@dataclass(frozen=True)
class Tiling:
    """Outer tile size and halo, in pixels.

    Parameters
    ----------
    tile : int
        Side of the square that goes through the network, halo included.
    halo : int
        Width of the border whose result is thrown away.

    Raises
    ------
    ConfigError
        If the sizes do not fit each other.
    """

    tile: int = 256
    halo: int = 32

    def __post_init__(self) -> None:
        if self.halo < 0 or self.halo % GRID or self.tile % GRID:
            raise ConfigError(
                f"tile {self.tile}, halo {self.halo}: both must be multiples of {GRID}",
                f"e.g. tile {max(3 * GRID, round(self.tile / GRID) * GRID)}, halo "
                f"{max(0, round(self.halo / GRID)) * GRID}",
            )
        if self.inner < GRID:
            raise ConfigError(
                f"tile {self.tile}, halo {self.halo}: leaves {self.inner} pixels inside, at "
                f"least {GRID} are needed",
                f"choose a tile of {2 * self.halo + GRID} or more",
            )

    @property
    def inner(self) -> int:
        """Side of the part that is kept."""
        return self.tile - 2 * self.halo

    def count(self, rows: int, columns: int) -> int:
        """Return the number of tiles that cover a plane."""
        return -(-rows // self.inner) * -(-columns // self.inner)

    def cut(self, plane: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
        """Cut a plane.

        Parameters
        ----------
        plane : (C, Y, X)

        Yields
        ------
        tile : (C, tile, tile)
        y, x : int
            Where its inner part belongs in the plane.
        """
        rows, columns = plane.shape[1:]
        down, across = -(-rows // self.inner), -(-columns // self.inner)
        width = (
            (0, 0),
            (self.halo, self.halo + down * self.inner - rows),
            (self.halo, self.halo + across * self.inner - columns),
        )
        # bioimageio.core pads in the same way: the border pixel is repeated once
        padded = np.pad(plane, width, mode="symmetric")
        for i in range(down):
            for j in range(across):
                y, x = i * self.inner, j * self.inner
                yield padded[:, y : y + self.tile, x : x + self.tile], y, x

    def paste(self, plane: np.ndarray, tile: np.ndarray, y: int, x: int) -> None:
        """Write the inner part of a (C, tile, tile) result into its place of a (C, Y, X) plane."""
        h = min(self.inner, plane.shape[1] - y)
        w = min(self.inner, plane.shape[2] - x)
        inside = tile[:, self.halo : self.halo + h, self.halo : self.halo + w]
        plane[:, y : y + h, x : x + w] = inside


def economical(rows: int, columns: int, halo: int, largest: int) -> Tiling:
    """Return the tiling of at most `largest` pixels a side that computes the fewest pixels.

    The result does not depend on it, as long as the halo is wide enough; a small image becomes
    one small tile instead of being padded to a large one.
    """
    sides = range(2 * halo + GRID, max(largest, 2 * halo + GRID) + 1, GRID)
    tilings = [Tiling(side, halo) for side in sides]
    return min(tilings, key=lambda t: (t.count(rows, columns) * t.tile**2, -t.tile))


def whole(rows: int, columns: int, halo: int) -> Tiling:
    """Return the tiling that covers a plane with a single tile."""
    side = -(-max(rows, columns) // GRID) * GRID
    return Tiling(side + 2 * halo, halo)
