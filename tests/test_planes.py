"""Pairs as planes: intensities matched without bias, masks checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bmz_ddpm.data.pairs import Pair
from bmz_ddpm.data.planes import Planes, central, centre, load_planes, skip_unreadable
from bmz_ddpm.errors import DataError


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A clean image, and a noisy one that is 0.5 times as bright and 20 brighter."""
    rng = np.random.default_rng(0)
    high = rng.uniform(0, 200, (256, 256)).astype(np.float32)
    low = (0.5 * high + 20 + rng.normal(0, 40, high.shape)).astype(np.float32)
    for name, image in (("low", low), ("high", high)):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    return Pair(tmp_path / "low.tif", tmp_path / "high.tif", "a", "train")


def test_matching_finds_gain_and_offset_below_the_noise(pair: Pair) -> None:
    low, high, mask = load_planes(pair, match=True)
    original = load_planes(pair).high
    assert mask is None
    assert low.shape == high.shape == (1, 1, 256, 256)
    # the standard error of the gain is 40 / 57.7 / 256 = 0.0027
    gain, offset = np.polyfit(original.ravel(), high.ravel(), 1)
    assert gain == pytest.approx(0.5, abs=0.01)
    assert offset == pytest.approx(20, abs=1.5)


def test_matching_leaves_out_what_the_mask_excludes(pair: Pair) -> None:
    high = tifffile.imread(pair.high)
    mask = np.full(high.shape, 255, np.uint8)
    mask[:, :100], high[:, :100] = 0, 0  # padding of a registration
    tifffile.imwrite(pair.high, high)
    tifffile.imwrite(pair.high.with_name("mask.tif"), mask)
    masked = load_planes(replace(pair, mask=pair.high.with_name("mask.tif")), match=True)
    assert masked.mask is not None
    assert masked.mask.dtype == bool
    gain, _ = np.polyfit(high[:, 100:].ravel(), masked.high[0, 0, :, 100:].ravel(), 1)
    assert gain == pytest.approx(0.5, abs=0.01)
    spoilt, _ = np.polyfit(high.ravel(), load_planes(pair, match=True).high.ravel(), 1)
    assert abs(spoilt - 0.5) > 0.1  # without the mask the padding decides


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((256, 256), np.uint8), "is zero everywhere"),
        (np.ones((128, 256), np.uint8), "must be 256 x 256 pixels with one"),
        (np.ones((256, 256, 3), np.uint8), "with 3 channels"),
    ],
)
def test_masks_that_cannot_be_used(pair: Pair, values: np.ndarray, message: str) -> None:
    path = pair.low.with_name("mask.tif")
    tifffile.imwrite(path, values)
    with pytest.raises(DataError, match=message):
        load_planes(replace(pair, mask=path))


def test_nothing_to_match(pair: Pair) -> None:
    tifffile.imwrite(pair.high, 255 - tifffile.imread(pair.high))
    with pytest.raises(DataError, match=r"high\.tif: is constant or does not resemble .*low\.tif"):
        load_planes(pair, match=True)
    tifffile.imwrite(
        pair.high, np.ones((2, 256, 256), np.float32), imagej=True, metadata={"axes": "CYX"}
    )
    with pytest.raises(DataError, match=r"has 1 channels and .* has 2"):
        load_planes(pair, match=True)


def test_channels_and_axes_as_declared(pair: Pair) -> None:
    """Each image has its own channels; the axes are those of both."""
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 250, (4, 3, 2, 32, 40), dtype=np.uint8)
    for path in (pair.low, pair.high):
        tifffile.imwrite(path, stored, photometric="minisblack")
    declared = replace(pair, axes="tzcyx", low_channel="2", high_channel="2,1")
    low, high, _ = load_planes(declared)
    np.testing.assert_array_equal(low, stored.reshape(12, 2, 32, 40)[:, [1]])
    np.testing.assert_array_equal(high, stored.reshape(12, 2, 32, 40)[:, [1, 0]])
    with pytest.raises(DataError, match=r"low\.tif: has no channel 'GFP', its channels are 1 to 2"):
        load_planes(replace(declared, low_channel="GFP"))


def test_skipping_is_by_pair_and_says_why(pair: Pair, tmp_path: Path) -> None:
    cut, smaller = tmp_path / "cut.tif", tmp_path / "smaller.tif"
    cut.write_bytes(pair.low.read_bytes()[:3000])
    tifffile.imwrite(smaller, tifffile.imread(pair.high)[:-1])
    bad = [replace(pair, low=cut), replace(pair, high=smaller), replace(pair, low_channel="2")]
    val = replace(pair, fov="b", split="val")
    kept, problems = skip_unreadable([bad[0], pair, *bad[1:], val])
    assert kept == [pair, val]
    assert problems[0].startswith(f"{cut}: is not a readable image (")
    assert problems[1].startswith(f"{pair.low}: is 256 x 256 pixels but its partner {smaller} is")
    assert problems[2] == f"{pair.low}: has no channel '2', its channels are 1"
    assert skip_unreadable([pair, val]) == ([pair, val], [])


def test_skipping_leaves_something_of_each_split(pair: Pair, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tif"
    cut.write_bytes(b"II*")
    for split, word in (("train", "training"), ("val", "validation"), ("test", "the test")):
        bad = replace(pair, low=cut, split=split)
        with pytest.raises(DataError) as caught:
            skip_unreadable([bad, bad, replace(pair, split="val" if split == "train" else "train")])
        assert caught.value.problem.startswith(
            f"none of the 2 pairs for {word} can be used; the first problem is: {cut}: is not a"
        )
        assert caught.value.fix.startswith("repair the images")


def test_the_centre_of_an_image() -> None:
    """By hand: 10 x 7 pixels, and a square of 4, 8 or all of it; on a grid of 2."""
    image = np.arange(70).reshape(10, 7)
    assert image[centre(10, 7, 4)].tolist() == image[3:7, 1:5].tolist()
    assert image[centre(10, 7, 8)].tolist() == image[1:9].tolist()
    assert image[centre(10, 7, 0)].tolist() == image.tolist()
    assert image[centre(10, 7, 4, grid=2)].tolist() == image[2:6, 0:4].tolist()
    stack = np.broadcast_to(image, (3, 2, 10, 7))
    part = central(Planes(stack, stack + 1, stack[:, :1] > 0), 4, 2)
    assert part.low.shape == part.high.shape == (2, 2, 4, 4)
    assert part.mask is not None
    assert part.mask.shape == (2, 1, 4, 4)
    assert (part.low[1, 1] == image[3:7, 1:5]).all()
    assert central(Planes(stack, stack, None), 0).mask is None
