"""Tiles: every pixel written exactly once, and the same as without tiles."""

import numpy as np
import pytest

from bmz_ddpm.errors import ConfigError
from bmz_ddpm.runtime.tiling import GRID, Tiling, economical, whole


@pytest.mark.parametrize(("tile", "halo"), [(32, 0), (64, 0), (96, 32), (128, 32), (256, 96)])
def test_every_pixel_is_written_exactly_once(tile: int, halo: int) -> None:
    tiling = Tiling(tile, halo)
    for rows in range(1, 121, 7):
        for columns in (1, 31, 32, 33, 64, 100, 119):
            plane = np.arange(rows * columns, dtype=np.float64).reshape(1, rows, columns)
            written = np.zeros((1, rows, columns))
            copy = np.full_like(plane, -1)
            count = 0
            for piece, y, x in tiling.cut(plane):
                assert piece.shape == (1, tile, tile)
                ones = np.zeros_like(written)
                tiling.paste(ones, np.ones_like(piece), y, x)
                written += ones
                tiling.paste(copy, piece, y, x)
                count += 1
            assert np.all(written == 1)
            np.testing.assert_array_equal(copy, plane)
            assert count == tiling.count(rows, columns)


def test_a_local_filter_gives_the_same_in_tiles_and_whole() -> None:
    """Any operation that looks no further than the halo must not show a seam."""
    plane = np.random.default_rng(0).normal(size=(1, 150, 210))

    def blur(image: np.ndarray) -> np.ndarray:
        out = image.copy()
        for axis in (1, 2):
            out = sum(np.roll(out, s, axis) for s in range(-10, 11))
        return out

    results = []
    for tiling in (Tiling(96, 32), whole(150, 210, 32)):
        result = np.zeros_like(plane)
        for piece, y, x in tiling.cut(plane):
            tiling.paste(result, blur(piece), y, x)
        results.append(result)
    np.testing.assert_allclose(results[0], results[1], atol=1e-9)


def test_tiles_start_on_the_grid() -> None:
    tiling = Tiling(160, 32)
    assert {y % GRID for _, y, _ in tiling.cut(np.zeros((1, 300, 300)))} == {0}
    assert tiling.inner % GRID == 0


def test_whole_is_one_tile() -> None:
    assert whole(150, 210, 32).count(150, 210) == 1


@pytest.mark.parametrize(
    ("tile", "halo", "text"),
    [
        (250, 32, "tile 250, halo 32: both must be multiples of 32"),
        (256, 20, "tile 256, halo 20: both must be multiples of 32"),
        (64, 32, "tile 64, halo 32: leaves 0 pixels inside, at least 32 are needed"),
        (64, -32, "tile 64, halo -32: both must be multiples of 32"),
    ],
)
def test_impossible_tiles(tile: int, halo: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Tiling(tile, halo)


def test_the_fewest_pixels_are_computed() -> None:
    assert economical(176, 100, 64, 512).tile == 320  # one tile: 176 and two halos
    assert economical(512, 512, 64, 512).tile == 384  # four of 256 inside, not of 384
    assert economical(20000, 20000, 64, 512).tile == 512
    assert economical(20000, 20000, 64, 96).tile == 160  # a halo needs room
