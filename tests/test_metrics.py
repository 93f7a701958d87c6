"""Metrics against closed forms and an independent implementation."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from scipy.stats import pearsonr

from bmz_ddpm.errors import DataError
from bmz_ddpm.evaluate.classical import best_gaussian, gaussian
from bmz_ddpm.evaluate.metrics import (
    fitted,
    mae,
    ms_ssim,
    nrmse,
    pearson,
    psnr,
    spread_over_skill,
)


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


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """A smooth image of 0 to 255 and a noisy copy within the same range."""
    rng = np.random.default_rng(0)
    truth = gaussian(rng.uniform(0, 255, (192, 208)), 3) * 4 % 255
    return truth, np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255)


def test_as_scikit_image_and_scipy_compute_it(images) -> None:  # type: ignore[no-untyped-def]
    measures = pytest.importorskip("skimage.metrics")
    truth, noisy = images
    assert psnr(truth, noisy) == pytest.approx(
        measures.peak_signal_noise_ratio(truth, noisy, data_range=255), rel=1e-12
    )
    assert psnr(100 * truth, 100 * noisy, 25500) == pytest.approx(psnr(truth, noisy), rel=1e-12)
    assert nrmse(truth, noisy) == pytest.approx(
        np.sqrt(measures.mean_squared_error(truth, noisy)) / truth.mean(), rel=1e-12
    )
    assert pearson(truth, noisy) == pytest.approx(pearsonr(truth.ravel(), noisy.ravel())[0])


def test_ratios_without_a_denominator() -> None:
    flat = np.zeros((4, 4))
    assert np.isnan(nrmse(flat, flat + 1))
    assert np.isnan(pearson(flat, np.arange(16.0).reshape(4, 4)))


def test_ms_ssim_is_the_formula_of_its_paper(images) -> None:  # type: ignore[no-untyped-def]
    """Wang, Simoncelli, Bovik (2003), eq. 7, written down once more; window 11, sigma 1.5."""
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            image = correlate1d(image, window, axis, mode="mirror")
        return image[5:-5, 5:-5]

    x, y = images
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        contrast = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (var_x + var_y + c2)
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        product *= (luminance * contrast if scale == 4 else contrast).mean() ** weight
        x, y = (i[: i.shape[0] // 2 * 2, : i.shape[1] // 2 * 2] for i in (x, y))
        x, y = (i.reshape(i.shape[0] // 2, 2, i.shape[1] // 2, 2).mean((1, 3)) for i in (x, y))
    assert ms_ssim(*images) == pytest.approx(product, abs=2e-3)


def test_ms_ssim_of_a_small_image() -> None:
    small = np.zeros((175, 300))
    with pytest.raises(DataError, match="the image has 175 x 300 pixels, at least 176 are needed"):
        ms_ssim(small, small)
    assert ms_ssim(np.ones((176, 176)), np.ones((176, 176))) == pytest.approx(1)
