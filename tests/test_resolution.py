"""Decorrelation analysis: the formula, known cut-offs, and images that have no resolution."""

import numpy as np
import pytest

from bmz_ddpm.evaluate.resolution import apodised, curve, resolution


def band_limited(cut_off: float, noise: float, seed: int = 0, side: int = 192) -> np.ndarray:
    """Random structure with nothing above `cut_off` (share of Nyquist's frequency), and noise."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)
    radius = 2 * np.hypot(frequency[:, None], frequency[None])
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / np.sqrt(np.maximum(radius, 1 / side))
    image = np.fft.ifft2(spectrum * (radius <= cut_off)).real
    return image / image.std() + noise * rng.normal(size=image.shape)


@pytest.mark.parametrize("rule", ["highest", "geometric"])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("cut_off", [0.15, 0.3, 0.5, 0.8])
def test_a_known_cut_off_is_found_within_ten_percent(cut_off: float, noise: float, rule) -> None:  # type: ignore[no-untyped-def]
    for seed in (0, 1):
        found = resolution(band_limited(cut_off, noise, seed), rule=rule)
        assert found == pytest.approx(2 / cut_off, rel=0.1)


def test_the_curve_is_equation_12() -> None:
    """Correlate the spectrum with its phases inside a circle, number by number."""
    image = band_limited(0.4, 0.2, side=64)
    image = image - image.mean()
    spectrum = np.fft.fft2(image)
    phases = spectrum / np.abs(spectrum)
    frequency = np.fft.fftfreq(64)
    ring = np.rint(2 * np.hypot(frequency[:, None], frequency[None]) * 32)
    seen = (ring > 0) & (ring <= 32)
    expected = []
    for limit in (4, 11, 20, 32):
        masked = phases * (seen & (ring <= limit))
        product = (spectrum * masked.conj()).real.sum()
        power = (np.abs(spectrum[seen]) ** 2).sum() * (np.abs(masked) ** 2).sum()
        expected.append(product / np.sqrt(power))
    np.testing.assert_allclose(curve(image, np.array([4, 11, 20, 32]) / 32), expected, rtol=1e-9)


def test_the_unit_is_that_of_the_pixel_size() -> None:
    image = band_limited(0.5, 0.1)
    assert resolution(image, 0.1) == pytest.approx(0.1 * resolution(image))
    assert resolution(3 * image + 100) == pytest.approx(resolution(image))


def test_a_blur_is_a_coarser_resolution() -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.uniform(size=(192, 192)) ** 20, 1.0)
    found = [
        resolution(gaussian_filter(image, s) + 1e-4 * rng.normal(size=image.shape))
        for s in (0.5, 1.5, 3.0)
    ]
    assert found[0] < found[1] < found[2]


def test_pure_noise_and_a_constant_have_none() -> None:
    noise = np.random.default_rng(0).normal(size=(128, 128))
    assert np.isnan(resolution(noise))
    assert np.isnan(resolution(np.full((64, 64), 7.0)))


def test_the_rim_fades_to_zero_and_the_middle_is_unchanged() -> None:
    image = np.random.default_rng(0).uniform(size=(100, 60))
    faded = apodised(image)
    np.testing.assert_allclose(faded[20:-20, 7:-7], (image - image.mean())[20:-20, 7:-7])
    assert np.abs(faded[[0, -1]]).max() < 0.01
    assert np.abs(faded[:, [0, -1]]).max() < 0.02
