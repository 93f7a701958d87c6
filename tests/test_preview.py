"""The picture of a result: what is chosen, what is said, and that nothing else is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from xarray.backends import BackendArray
from xarray.core import indexing

from bmz_ddpm.display import layout, text
from bmz_ddpm.display.preview import draw_preview
from bmz_ddpm.display.scale import eight_bit, grey_limits, palette, scale_bar, spread_limits
from bmz_ddpm.display.views import choose_window, middle_plane, read_view
from bmz_ddpm.errors import ConfigError


def image(shape: tuple[int, ...], axes: str, **attrs: object) -> xr.DataArray:
    values = np.random.default_rng(0).poisson(100, shape).astype(np.uint16)
    return xr.DataArray(values, dims=tuple(axes), attrs=attrs)


def results(noisy: xr.DataArray, *names: str) -> dict[str, xr.DataArray]:
    found = {"denoised": noisy.astype(np.float32), **dict.fromkeys(names, 0.1 * noisy)}
    return {name: r.assign_attrs(noisy.attrs) for name, r in found.items()}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All the text of the pictures that the test draws."""
    found: list[str] = []
    monkeypatch.setattr(layout, "drawable", lambda t, font: found.append(t) or t)
    return found


def test_scale_bars() -> None:
    assert scale_bar(256, 0.025) == (pytest.approx(40 / 256), "1 µm")
    assert scale_bar(100, 0.01) == (pytest.approx(0.2), "200 nm")
    assert scale_bar(256, None) == (pytest.approx(50 / 256), "50 pixels (pixel size unknown)")


def test_ranges_ignore_what_is_no_number() -> None:
    values = np.array([np.nan, np.inf, *range(1001)])
    assert grey_limits(values) == (5, 998)
    assert spread_limits(values) == (0, 998)
    assert grey_limits(np.array([np.nan])) == (0, 1)
    assert spread_limits(np.zeros(5)) == (0, 1)
    assert eight_bit(np.array([[5, 998, 2000]]), 5, 998).tolist() == [[0, 255, 255]]


def test_palettes_get_brighter_all_the_way() -> None:
    for name in ("gray", "magma", "viridis"):
        light = palette(name) @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(light) > -0.6).all(), name
        assert light[-1] - light[0] > 150


def test_small_planes_are_shown_whole_and_large_ones_in_part() -> None:
    assert choose_window((640, 30)).whole
    window = choose_window((1000, 3000))
    assert (window.y, window.x, window.height, window.width) == (244, 1244, 512, 512)
    corner = choose_window((1000, 3000), (999, 0))
    assert (corner.y, corner.x) == (1000 - 512, 0)
    assert choose_window((600, 600), (0, 599)).x == 600 - 512  # asked for, so not the whole


def test_a_place_outside_of_the_image() -> None:
    with pytest.raises(ConfigError, match=r"--preview-at 7,700: lies outside .* 600 x 700 pixels"):
        choose_window((600, 700), (7, 700))


def test_the_middle_of_a_series() -> None:
    stack = image((4, 5, 2, 6, 7), "tzcyx")
    np.testing.assert_array_equal(middle_plane(stack), stack.values[2, 2])
    np.testing.assert_array_equal(middle_plane(stack.transpose(*"yxctz")), stack.values[2, 2])


class Disk(BackendArray):
    """An image that is not in memory: it remembers how much was read at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.most = values, values.shape, values.dtype, 0

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)

    def _read(self, key: tuple[slice, ...]) -> np.ndarray:
        self.most = max(self.most, self.values[key].size)
        return self.values[key]


def test_large_planes_go_by_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overview is the mean of squares, smaller ones at the border, whatever the strips."""
    values = np.random.default_rng(1).random((1501, 1030)).astype(np.float32)
    window = choose_window(values.shape)
    n = window.factor
    assert n == 3
    monkeypatch.setattr("bmz_ddpm.display.views._STRIP", 40_000)
    disk = Disk(values)
    lazy = xr.Variable(("y", "x"), indexing.LazilyIndexedArray(disk))
    view = read_view(xr.DataArray(lazy), window)
    assert disk.most <= 512 * 512  # the part; a strip has less
    assert view.overview is not None
    assert view.overview.shape == (-(-1501 // n), -(-1030 // n))
    assert view.overview[7, 11] == pytest.approx(values[21:24, 33:36].mean(), rel=1e-6)
    assert view.overview[-1, -1] == pytest.approx(values[1500:, 1029:].mean(), rel=1e-6)
    np.testing.assert_array_equal(view.part, values[494:1006, 259:771])
    assert len(view.sample) == values.size  # not more than a million and a half


def test_the_sample_is_an_even_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(900.0 * 800, dtype=np.float32).reshape(900, 800)
    monkeypatch.setattr("bmz_ddpm.display.views._STRIP", 20_000)
    monkeypatch.setattr("bmz_ddpm.display.views._ENOUGH", 15_000)
    view = read_view(xr.DataArray(values, dims=("y", "x")), choose_window(values.shape))
    np.testing.assert_array_equal(view.sample, values[::7, ::7].ravel())


def test_the_picture_shows_each_pixel_in_the_range_it_names(said: list[str]) -> None:
    """One panel after the other, from left to right, enlarged four times."""
    noisy = image((96, 96), "yx", pixel_size=(0.1, 0.1))
    found = results(noisy, "std", "entropy")
    picture = np.asarray(Image.open(io.BytesIO(draw_preview(noisy, found, "cells.tif"))))
    low, high = grey_limits(found["denoised"].values.ravel())
    expected = eight_bit(noisy.values, low, high)
    rows = np.flatnonzero((picture != 255).any(2).sum(1) > 1000)  # those with panels
    top, column = rows[0], layout.GAP + 384 + layout.GAP
    denoised = picture[top : top + 384, column : column + 384][::4, ::4]
    np.testing.assert_array_equal(denoised[..., 0], expected)
    spread = picture[top : top + 384, 2 * column - layout.GAP :][:, :384][::4, ::4]
    limits = spread_limits(found["std"].values.ravel())
    np.testing.assert_array_equal(spread, palette("magma")[eight_bit(found["std"].values, *limits)])
    assert [t for t in said if t in ("noisy", "denoised", "uncertainty (std)", "entropy")] == [
        "noisy", "denoised", "uncertainty (std)", "entropy",
    ]  # fmt: skip
    assert said.count(f"{low:.4g}") == 2  # the same for noisy and denoised
    assert "10 µm" not in said
    assert said.count("2 µm") == 1  # 9.6 µm are shown
    assert "All 96 x 96 pixels. Noisy and denoised share their range: 0.5 to 99.8 %" in said[0]


def test_a_stack_of_channels_says_what_is_shown(said: list[str]) -> None:
    noisy = image((2, 5, 2, 40, 30), "tzcyx", channel_names=("DAPI", ""), pixel_size=(0.3, 0.1))
    draw_preview(noisy, results(noisy, "std"), "cells.tif")
    assert said[0].startswith("Plane in the middle: t 2 of 2, z 3 of 5. All 40 x 30 pixels.")
    assert "A pixel is 0.3 µm high and 0.1 µm wide but drawn square" in said[1]
    assert "channel 1: DAPI" in said
    assert "channel 2" in said
    assert "entropy" not in said


def test_many_channels(said: list[str]) -> None:
    noisy = image((11, 20, 20), "cyx")
    draw_preview(noisy, results(noisy), "cells.tif")
    assert "The first 8 of 11 channels are shown." in said
    assert "channel 8" in said
    assert "channel 9" not in said


def test_one_clean_channel_of_two_noisy_ones(said: list[str]) -> None:
    noisy = image((2, 20, 20), "cyx")
    draw_preview(noisy, results(noisy[:1]), "cells.tif")
    assert said.count("noisy") == 1


def test_the_interval_of_a_calibrated_model(said: list[str]) -> None:
    noisy = image((40, 40), "yx")
    found = results(noisy) | {"lower": 0 * noisy, "upper": 0 * noisy + 12.0}
    draw_preview(noisy, found, "cells.tif")
    assert "interval: upper − lower" in said
    assert "12" in said


def test_a_noisy_image_in_other_counts_is_still_seen(said: list[str]) -> None:
    noisy = image((40, 40), "yx")
    draw_preview(noisy, {"denoised": 50.0 * noisy}, "cells.tif")
    assert "noisy (range of its own)" in said
    assert "in a common one the noisy image could not be seen" in said[0]


@pytest.mark.parametrize("shape", [(1400, 700), (100, 2000), (3, 5)])
def test_nothing_is_cut_off(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """All text ends inside the picture; the frame lies where the part comes from."""
    ends: list[float] = []
    draw = layout.ImageDraw.Draw

    def spy(picture: Image.Image) -> object:
        made = draw(picture)
        write = made.text

        def written(xy: tuple[float, float], text: str, fill=None, font=None, **rest) -> None:  # type: ignore[no-untyped-def]
            ends.append(picture.width - xy[0] - font.getlength(text))
            write(xy, text, fill, font, **rest)

        made.text = written  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(layout.ImageDraw, "Draw", spy)
    noisy = image(shape, "yx", pixel_size=(0.1, 0.1))
    found = results(noisy, "std", "entropy", "lower", "upper")
    draw_preview(noisy, found, "a_long_name_" * 60 + ".tif")
    assert min(ends) >= 0


def test_letters_that_no_font_has() -> None:
    plain = text.plain_font(16)
    assert text.drawable("5 µm − naïve 細胞", plain) == "5 um - naive ??"
    assert text.shortened("x" * 500, plain, 80).endswith(" …")
    assert text.wrapped("one two three", plain, 60) == ["one two", "three"]


def test_without_any_font_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_FONTS", ("no such font.ttf",))
    text.rich_font.cache_clear()
    assert text.rich_font(15) is text.plain_font(15)
    noisy = image((20, 20), "yx", pixel_size=(0.1, 0.1))
    assert draw_preview(noisy, results(noisy), "é.tif").startswith(b"\x89PNG")
    text.rich_font.cache_clear()
