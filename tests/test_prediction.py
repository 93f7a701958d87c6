"""Predictions as planes: axes, linear changes, shifts."""

import sys

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import fourier_shift, gaussian_filter

from bmz_ddpm.errors import DataError, MissingDependency
from bmz_ddpm.evaluate.prediction import (
    Prediction,
    affine,
    aligned,
    as_planes,
    clipped,
    like,
    rescaled,
)


def smooth(seed: int = 0, planes: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 1, (planes, 80, 96))
    return (gaussian_filter(noise, (0, 2, 2)) * 1000).astype(np.float32)


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tzcyx", "tcyx"])
def test_planes_and_back(axes: str) -> None:
    shape = [{"t": 2, "z": 3, "c": 2, "y": 4, "x": 5}[a] for a in axes]
    values = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    image = xr.DataArray(values, dims=tuple(axes), attrs={"pixel_size": (0.1, 0.1)})
    planes = as_planes(image)
    assert planes.shape == (values.size // 20, 4, 5)
    xr.testing.assert_identical(like(planes, image).transpose(*axes), image)


def test_a_linear_change_reaches_mean_std_and_samples() -> None:
    samples = np.random.default_rng(0).normal(size=(5, 2, 8, 8)).astype(np.float32)
    before = Prediction(samples.mean(0), samples.std(0), None, samples, 5)
    gain, offset = np.array([2.0, 3.0]), np.array([10.0, 20.0])
    after = affine(before, gain, offset)
    assert after.samples is not None
    np.testing.assert_allclose(after.samples.mean(0), after.mean, rtol=1e-5)
    np.testing.assert_allclose(after.samples.std(0), after.std, rtol=1e-4)
    np.testing.assert_allclose(after.mean[1], 3 * before.mean[1] + 20, rtol=1e-6)


def test_rescaling_gives_the_two_moments() -> None:
    after = rescaled(Prediction(smooth(planes=3)), 40.0, 12.5)
    np.testing.assert_allclose(after.mean.mean((1, 2)), 40, rtol=1e-4)
    np.testing.assert_allclose(after.mean.std((1, 2)), 12.5, rtol=1e-4)
    flat = rescaled(Prediction(np.full((1, 4, 4), 7, np.float32)), 40.0, 12.5)
    np.testing.assert_allclose(flat.mean, 40)


def test_clipping() -> None:
    values = np.array([[[-3, 5, 400]]], np.float32)
    np.testing.assert_array_equal(clipped(Prediction(values), 255).mean, [[[0, 5, 255]]])


@pytest.mark.parametrize("shift", [(2.3, -1.7), (0.0, 0.0), (-0.5, 4.0)])
def test_a_known_shift_is_undone(shift: tuple[float, float]) -> None:
    truth = smooth()
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(truth[0]), shift)).real[None].astype(np.float32)
    result, valid, shifts = aligned(Prediction(moved, moved), truth)
    np.testing.assert_allclose(shifts[0], (-shift[0], -shift[1]), atol=0.05)
    inside = np.s_[:, 10:-10, 10:-10]  # the made shift wraps around
    np.testing.assert_allclose(result.mean[inside], truth[inside], atol=2)
    np.testing.assert_array_equal(result.std, result.mean)
    rows, columns = (int(np.ceil(abs(s) - 0.05)) for s in shift)
    assert valid.sum() == (80 - rows) * (96 - columns)


def test_a_long_shift_is_no_drift() -> None:
    truth = smooth()
    with pytest.raises(DataError, match=r"plane 0: lies .* more than an eighth of the image"):
        aligned(Prediction(np.roll(truth, 25, 1)), truth)


def test_alignment_needs_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.registration", None)
    with pytest.raises(MissingDependency, match="--align needs scikit-image"):
        aligned(Prediction(smooth()), smooth())
