"""Training patches: repeatable, geometrically exact, with the noise of the camera."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from bmz_ddpm.config import AugmentConfig
from bmz_ddpm.data.noise import NoiseModel, fit_noise
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.data.patches import (
    PatchSource,
    intensity_range,
    to_model_units,
)
from bmz_ddpm.data.planes import load_planes
from bmz_ddpm.data.vary import gaussian_blur
from bmz_ddpm.errors import DataError

REAL = AugmentConfig(simulated=0)
SIMULATED = AugmentConfig(simulated=1)


def save(folder: Path, name: str, low: np.ndarray, high: np.ndarray, axes: str = "YX") -> Pair:
    for kind, image in (("low", low), ("high", high)):
        tifffile.imwrite(folder / f"{name}_{kind}.tif", image, imagej=True, metadata={"axes": axes})
    return Pair(folder / f"{name}_low.tif", folder / f"{name}_high.tif", name, "train")


def numbered(folder: Path, rows: int = 40, columns: int = 52) -> PatchSource:
    """A pair in which every pixel of low has its own value, and high = 2 · low."""
    low = np.random.default_rng(0).permutation(rows * columns).reshape(rows, columns)
    pair = save(folder, "numbered", low.astype(np.uint16), (2 * low).astype(np.uint16))
    return PatchSource([pair], 16, REAL, seed=1)


def in_counts(source: PatchSource, cond: torch.Tensor, x0: torch.Tensor) -> list[np.ndarray]:
    """Undo the model units by their definition."""
    i = source.intensity
    low, high = cond * i.input_scale + i.input_offset, x0 * i.output_scale + i.output_offset
    return [low.numpy(), high.numpy()]


def patches(source: PatchSource, step: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = source.batch(step, size)
    return batch.cond, batch.x0


def refused(pairs: list[Pair], patch: int = 32) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        PatchSource(pairs, patch, REAL, seed=0)
    return caught.value.problem, caught.value.fix


def test_counted_photons_stay_whole_numbers_where_the_reference_is_float(tmp_path: Path) -> None:
    """As where the clean image is an expected count: only the noisy image decides."""
    clean = np.random.default_rng(0).uniform(0, 9, (64, 64)).astype(np.float32)
    pair = save(tmp_path, "a", np.random.default_rng(1).poisson(clean).astype(np.uint8), clean)
    source = PatchSource([pair], 32, AugmentConfig(simulated=1, gain=(1, 1)), seed=0)
    low, _ = in_counts(source, *patches(source, 1, 8))
    assert abs(low - low.round()).max() < 1e-4
    assert low.min() > -1e-4


def test_a_step_alone_decides_its_patches(pair_folder: Path) -> None:
    pairs = find_pairs(pair_folder)
    one, other = (PatchSource(pairs, 32, AugmentConfig(), seed=3) for _ in range(2))
    one.batch(1, 4)  # what was drawn before does not matter
    first, second = one.batch(7, 4), other.batch(7, 4)
    cond, x0 = first.cond, first.x0
    assert cond.shape == x0.shape == (4, 1, 32, 32)
    assert cond.dtype == x0.dtype == torch.float32
    for name in ("cond", "x0", "weight"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    for after, after_2 in zip(first.generators, second.generators, strict=True):
        assert torch.equal(torch.rand(9, generator=after), torch.rand(9, generator=after_2))
    share = other.batch(7, 2, first=2)  # as another process draws it
    assert torch.equal(share.cond, cond[2:])
    assert share.names == first.names[2:]
    assert set(first.names) <= {str(pair.low) for pair in pairs}
    reseeded = PatchSource(pairs, 32, AugmentConfig(), seed=4)
    for different in (one.batch(8, 4), reseeded.batch(7, 4)):
        assert not torch.equal(different.cond, cond)
        assert not torch.equal(different.x0, x0)
    assert not torch.equal(x0[0], x0[1])


def test_real_patches_are_crops_flips_and_turns_of_the_pair(tmp_path: Path) -> None:
    source = numbered(tmp_path)
    original = source.planes[0].low[0].numpy()
    seen, corners = set(), []
    for step in range(40):
        low, high = in_counts(source, *patches(source, step, 8))
        np.testing.assert_allclose(high, 2 * low, atol=0.05)
        for patch in np.rint(low[:, 0]):
            where = [np.argwhere(original == value)[0] for value in (patch[0, 0], patch[-1, -1])]
            y, x = np.minimum(*where)
            crop = original[y : y + 16, x : x + 16]
            ways = [np.rot90(c, k) for c in (crop, crop[:, ::-1]) for k in range(4)]
            matches = [i for i, way in enumerate(ways) if np.array_equal(way, patch)]
            assert len(matches) == 1
            seen.add(matches[0])
            corners.append((y, x))
    assert seen == set(range(8))
    assert np.min(corners, 0).tolist() == [0, 0]
    assert np.max(corners, 0).tolist() == [40 - 16, 52 - 16]


def test_simulated_patches_keep_the_range_of_the_files(pair_folder: Path) -> None:
    source = PatchSource(find_pairs(pair_folder), 32, SIMULATED, seed=0)
    batches = [patches(source, step, 8) for step in range(8)]
    cond, x0 = (torch.cat(parts) for parts in zip(*batches, strict=True))
    low, high = in_counts(source, cond, x0)
    np.testing.assert_allclose(low, np.rint(low), atol=0.01)
    assert -0.01 < low.min() <= low.max() <= 65535
    ends = source.intensity.low, source.intensity.high
    assert ends == pytest.approx((40, 40 + 1.25 * 360), abs=2)  # the made-up pairs' counts
    assert ends[0] - 0.01 < high.min() < 50
    assert 450 < high.max() < ends[1] + 0.01


def test_model_units_are_standard_deviations_of_the_patches(pair_folder: Path) -> None:
    """Mean 0 and standard deviation 1, within what 320 other patches can tell."""
    source = PatchSource(find_pairs(pair_folder), 32, AugmentConfig(), seed=0)
    batches = [patches(source, step, 8) for step in range(40)]
    for values in (torch.cat(parts) for parts in zip(*batches, strict=True)):
        assert abs(float(values.mean())) < 0.15
        assert float(values.std()) == pytest.approx(1, abs=0.15)


def test_model_units_may_span_the_range(tmp_path: Path) -> None:
    image = np.linspace(100, 500, 40 * 40).reshape(40, 40).astype(np.uint16)
    pair = save(tmp_path, "a", image, 2 * image)
    source = PatchSource([pair], 32, REAL, seed=0, units="range")
    (low, high), (dark, bright) = source.input_range, source.output_range
    assert (low, high, dark, bright) == (100, 600, 200, 1200)
    ends = torch.tensor([low, high]), torch.tensor([dark, bright])
    cond, x0 = to_model_units(*ends, source.intensity)
    assert cond.tolist() == pytest.approx([-1, 1])
    assert x0.tolist() == pytest.approx([-1, 1])
    assert (source.intensity.low, source.intensity.high) == (200, 1200)


def test_simulated_noise_is_around_the_clean_patch(pair_folder: Path) -> None:
    """The mean of low - high is 0 within 5 standard errors, its variance near gain · high."""
    plain = AugmentConfig(simulated=1, gain=(1, 1), brightness=(1, 1), zoom=(1, 1), blur=0)
    source = PatchSource(find_pairs(pair_folder), 32, plain, seed=0)
    batches = [in_counts(source, *patches(source, s, 8)) for s in range(12)]
    low, high = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    noise = low - high
    assert abs(noise.mean()) < 5 * noise.std() / math.sqrt(noise.size)
    # the images' noise is Poisson's: variance = mean
    assert noise.var() == pytest.approx(high.mean(), rel=0.1)


def test_planes_of_stacks_are_drawn_alike(tmp_path: Path) -> None:
    levels = np.arange(1, 7).reshape(2, 3, 1, 1) * np.ones((2, 3, 20, 24))
    pair = save(tmp_path, "a", levels.astype(np.uint16), (2 * levels).astype(np.uint16), "TZYX")
    low, high, _ = load_planes(pair)
    assert low.shape == high.shape == (6, 1, 20, 24)
    assert low.dtype == np.float32
    source = PatchSource([pair], 16, REAL, seed=0)
    values, _ = in_counts(source, *patches(source, 1, 60))
    assert {round(float(v)) for v in values[:, 0, 0, 0]} == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("low", "high", "top", "expected"),
    [
        (10, 100, 65535, (10, 122.5)),  # a quarter of headroom
        (5, 100, 65535, (0, 125)),  # a low end of at most 5 % of the high one becomes zero
        (5.5, 100, 65535, (5.5, 123.625)),
        (0, 255, 255, (0, 255)),  # never beyond what the file's type can hold
        (100, 250, 255, (100, 255)),
        (-5, 95, math.inf, (-5, 120)),
        (0.5, 1.5, math.inf, (0.5, 1.75)),
    ],
)
def test_intensity_range(low: float, high: float, top: float, expected: tuple) -> None:
    planes = [np.full((1, 1, 4, 4), low, np.float32), np.full((2, 1, 4, 4), high, np.float32)]
    assert intensity_range(planes, top) == pytest.approx(expected)


def test_constant_images_have_no_range() -> None:
    with pytest.raises(DataError) as caught:
        intensity_range([np.full((1, 1, 4, 4), 7.0)], 255)
    assert caught.value.problem == "training images: every pixel is 7"
    assert caught.value.fix == "use images that are not constant"


def camera(
    gain: float, offset: float, read_std: float, dark: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Six made-up pairs, 96 x 96, up to 800 photo-counts; with or without unlit background."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:96, :96]
    pairs = []
    for phase in range(6):
        wave = np.sin(y / 9 + phase) * np.cos(x / 7 + 2 * phase)
        light = 800 * (wave.clip(min=0) if dark else (wave + 1) / 2)
        low = offset + gain * rng.poisson(light / gain) + rng.normal(0, read_std, light.shape)
        pairs.append((low, offset + light))
    return pairs


def test_fit_noise_finds_gain_and_offset_of_a_quiet_camera() -> None:
    """Without read noise: gain within 10 % (3 standard deviations), offset within 1 count."""
    model = fit_noise(camera(gain=3, offset=100, read_std=0, dark=True))
    assert model.gain == pytest.approx(3, rel=0.1)
    assert model.offset == pytest.approx(100, abs=1)
    assert model.read_std < 2


def test_fit_noise_finds_the_read_noise() -> None:
    """Gain within 10 %, offset within 15 counts, read noise within 40 %, their sum within 6 %."""
    model = fit_noise(camera(gain=20, offset=200, read_std=15, dark=False))
    assert model.gain == pytest.approx(20, rel=0.1)
    assert model.offset == pytest.approx(200, abs=15)
    assert model.read_std == pytest.approx(15, rel=0.4)
    for light in (50, 200, 400):
        variance = model.gain * (200 + light - model.offset) + model.read_std**2
        assert variance == pytest.approx(20 * light + 15**2, rel=0.06)


def test_fit_noise_leaves_saturated_pixels_out() -> None:
    """8 bit, three quarters of the light range; high is the mean of 200 such frames."""
    rng = np.random.default_rng(5)
    light = np.linspace(0, 340, 96 * 96)
    frames = (4 * rng.poisson(light / 4, (201, light.size))).clip(max=255)
    model = fit_noise([(frames[0], frames[1:].mean(0))])
    assert model.gain == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("shape", [1.0, 4.0])
def test_fit_noise_of_a_photomultiplier_cut_off_at_its_dark_level(shape: float) -> None:
    """Dark pixels all have one value: the offset is exact. Gain within 10 % (bins whose variance
    came out low weigh more), shape within a factor of 1.5."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:256, :256]
    high = 3 + 60 * (np.sin(y / 9) * np.cos(x / 7)).clip(min=0)
    unit = 5 / (shape + 1)
    photons = rng.poisson((high - 3) / (unit * shape))
    low = 3 + rng.gamma(np.maximum(photons * shape, 1e-9), unit) * (photons > 0)
    low.flat[:50] = 1  # a few defects
    model = fit_noise([(low, high)])
    assert (model.offset, model.read_std) == (3, 0)
    assert model.gain == pytest.approx(5, rel=0.1)
    assert model.pulse_shape == pytest.approx(shape, rel=0.5)


def test_fit_noise_without_contrast_is_no_noise() -> None:
    flat = np.full((40, 40), 9.0)
    assert fit_noise([(flat, flat)]) == NoiseModel(gain=1e-6, offset=9.0, read_std=0.0)


@pytest.mark.parametrize("light", [0, 60, 400, 3000])
@pytest.mark.parametrize(("gain", "shape"), [(2.0, 100.0), (12.0, 100.0), (12.0, 1.0)])
def test_drawn_noise_has_the_promised_moments(light: float, gain: float, shape: float) -> None:
    """Mean `clean`, variance gain · (clean - offset) + read_std², third central moment
    gain² · (k + 2)/(k + 1) · (clean - offset); all within 5 standard errors."""
    model = NoiseModel(gain=99.0, offset=50.0, read_std=4.0, pulse_shape=shape)
    n = 400_000
    clean = torch.full((n,), 50 + float(light))
    generator = torch.Generator().manual_seed(int(light + gain))
    drawn = model.draw(clean, torch.tensor(gain), generator).double().numpy()
    expected = gain * light + 16, gain**2 * (shape + 2) / (shape + 1) * light
    assert abs(drawn.mean() - clean[0].item()) < 5 * math.sqrt(expected[0] / n)
    for order, moment in zip((2, 3), expected, strict=True):
        powers = (drawn - drawn.mean()) ** order
        assert abs(powers.mean() - moment) < 5 * powers.std() / math.sqrt(n) + 1e-6 * moment


def test_blur_is_a_gaussian_and_keeps_the_mean() -> None:
    """The response to a single pixel is exp(-r²/2σ²), normalised; taps end at 3 σ."""
    image = torch.zeros(1, 31, 31)
    image[0, 15, 15] = 1
    out = gaussian_blur(image, 2.0)[0].numpy()
    r = np.arange(31) - 15
    taps = np.exp(-(r**2) / 8) * (abs(r) <= 6)
    np.testing.assert_allclose(out, np.outer(taps, taps) / taps.sum() ** 2, atol=1e-6)
    assert out.sum() == pytest.approx(1, abs=1e-5)


def test_sizes_that_differ(tmp_path: Path) -> None:
    pair = save(tmp_path, "a", np.ones((40, 50), "u2"), np.ones((40, 48), "u2"))
    assert refused([pair]) == (
        f"{pair.low}: is 40 x 50 pixels but its partner {pair.high} is 40 x 48 pixels, both must "
        "have the same size",
        "crop or register the pair first",
    )
    stack = save(tmp_path, "b", np.ones((3, 40, 50), "u2"), np.ones((2, 40, 50), "u2"), "ZYX")
    problem, _ = refused([stack])
    assert "is 40 x 50 pixels x 3 planes but" in problem
    assert "is 40 x 50 pixels x 2 planes, both" in problem


def test_channels_that_differ(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 99, (2, 40, 40)).astype(np.uint16)
    first = save(tmp_path, "a", noise[0], noise[0])
    second = save(tmp_path, "b", noise, noise[:1], "CYX")
    assert refused([first, second]) == (
        f"{second.low}: has 2 channels in and 1 out, the first pair has 1 and 1",
        "give all pairs the same channels",
    )
    source = PatchSource([second], 32, AugmentConfig(), seed=0)
    assert (source.in_channels, source.out_channels) == (2, 1)
    assert source.simulated == 0  # noise can only be simulated in the channel it belongs to
    assert [t.shape for t in patches(source, 1, 3)] == [(3, 2, 32, 32), (3, 1, 32, 32)]


@pytest.mark.parametrize(
    ("side", "fix"),
    [
        (31, "train with a smaller patch (patch = 16)"),
        (15, "use images of at least 16 x 16 pixels"),
    ],
)
def test_patches_that_are_too_large(tmp_path: Path, side: int, fix: str) -> None:
    image = np.arange(side * 50).reshape(side, 50).astype(np.uint16)
    pair = save(tmp_path, "a", image, image)
    assert refused([pair]) == (
        f"{pair.low}: is {side} x 50 pixels, smaller than the 32 pixel patches",
        fix,
    )


def test_grid_crops_come_once_per_epoch(tmp_path: Path) -> None:
    """Without overlap; in the files' order, or in another order in every epoch."""
    low = np.arange(40 * 52).reshape(40, 52).astype(np.uint16)
    pair = save(tmp_path, "a", low, low)
    plain = AugmentConfig(simulated=0, flips=False)
    corners = [int(low[y, x]) for y in (0, 16) for x in (0, 16, 32)]
    orders = {}
    for shuffle in (False, True):
        source = PatchSource([pair], 16, plain, seed=0, crops="grid", shuffle=shuffle, batch_size=3)
        batches = [in_counts(source, *patches(source, step, 3))[0] for step in range(1, 9)]
        first = [int(v) for v in np.rint(np.concatenate(batches)[:, 0, 0, 0])]
        orders[shuffle] = [first[i : i + 6] for i in range(0, 24, 6)]
        share = source.batch(2, 1, first=1)  # the epoch's fifth, by another process
        again = in_counts(source, share.cond, share.x0)[0]
        assert int(np.rint(again[0, 0, 0, 0])) == orders[shuffle][0][4]
    assert orders[False] == [corners] * 4
    assert all(sorted(order) == corners for order in orders[True])
    assert len({tuple(order) for order in orders[True]}) > 1


def test_the_papers_filter_smooths_the_noisy_side_alone(tmp_path: Path) -> None:
    source = numbered(tmp_path)
    source.augment = AugmentConfig(simulated=0, filtered=0.5, filter_sigma=3)
    smooth = 0
    for step in range(1, 11):
        low, high = in_counts(source, *patches(source, step, 8))
        rough = low.std((1, 2, 3)) > 0.5 * high.std((1, 2, 3)) / 2
        smooth += int((~rough).sum())
        np.testing.assert_allclose(high[rough], 2 * low[rough], atol=0.05)
    assert 25 < smooth < 55  # half of 80, within three standard deviations
