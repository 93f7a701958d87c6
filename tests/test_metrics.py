"""Metrics against closed forms and an independent implementation."""

import numpy as np
import pytest

from bmz_ddpm.baselines.classical import best_gaussian, gaussian
from bmz_ddpm.evaluate.metrics import fitted, mae, ms_ssim, psnr, spread_over_skill


def test_mae_and_psnr_of_a_constant_error() -> None:
    truth = np.full((8, 8), 100.0)
    assert mae(truth, truth + 5) == 5
    assert psnr(truth, truth + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(truth, truth) == float("inf")


def test_psnr_clips_to_the_8_bit_range() -> None:
    truth = np.array([[255.0, 0.0]])
    assert psnr(truth, np.array([[400.0, -7.0]])) == float("inf")


def test_fitting_undoes_a_gain_and_an_offset_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 200, (32, 32))
    np.testing.assert_allclose(fitted(truth, truth * 0.3 + 17), truth, atol=1e-9)
    noisy = truth + rng.normal(0, 20, truth.shape)
    slope, offset = np.polyfit(noisy.ravel(), truth.ravel(), 1)
    np.testing.assert_allclose(fitted(truth, noisy), slope * noisy + offset)
    np.testing.assert_allclose(fitted(truth, np.full_like(truth, 5)), truth.mean())


def test_ms_ssim_is_one_for_equal_images_and_falls_with_noise() -> None:
    rng = np.random.default_rng(0)
    truth = gaussian(rng.uniform(0, 255, (192, 192)), 3) * 4 % 255
    noisy = truth + rng.normal(0, 20, truth.shape)
    worse = truth + rng.normal(0, 60, truth.shape)
    assert ms_ssim(truth, truth) == pytest.approx(1)
    assert 1 > ms_ssim(truth, noisy) > ms_ssim(truth, worse) > 0


@pytest.mark.parametrize(("shrink", "ratio"), [(1.0, 1.0), (0.5, 0.5)])
def test_spread_over_skill_of_a_known_ensemble(shrink: float, ratio: float) -> None:
    """Truth and samples from one distribution: 1. Samples with half the spread around the same
    mean: the error hardly falls, the ratio becomes about 0.5."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(200, 200))
    truth = centre + rng.normal(size=centre.shape)
    samples = centre + shrink * rng.normal(size=(15, *centre.shape))
    value = spread_over_skill(truth, samples.mean(0), samples.std(0), 15)
    expected = ratio * np.sqrt((1 + 1 / 15) / (1 + shrink**2 / 15))
    assert value == pytest.approx(expected, rel=0.02)


def test_one_sample_has_no_spread() -> None:
    assert np.isnan(spread_over_skill(np.ones((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)), 1))


def test_best_gaussian_finds_the_best_sigma() -> None:
    rng = np.random.default_rng(0)
    truth = gaussian(rng.uniform(0, 255, (96, 96)), 2)
    image = truth + rng.normal(0, 10, truth.shape)
    blurred, sigma = best_gaussian(image, truth)
    scores = [psnr(truth, gaussian(image, s)) for s in np.arange(0.5, 4.05, 0.1)]
    assert psnr(truth, blurred) == max(scores)
    assert 0.5 < sigma < 4
