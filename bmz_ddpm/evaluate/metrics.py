"""Measures of agreement between an image and its reference."""

from __future__ import annotations

import numpy as np

from ..errors import MissingDependency


def mae(truth: np.ndarray, image: np.ndarray) -> float:
    """Return the mean absolute error, in counts (the paper, eq. 8)."""
    return float(np.abs(truth.astype(np.float64) - image).mean())


def psnr(truth: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Return the peak signal-to-noise ratio in dB (the paper: `peak` = 255).

    The image is clipped to [0, peak], as in the paper; infinite for equal images.
    """
    image = np.clip(image.astype(np.float64), 0, peak)
    error = np.mean((truth.astype(np.float64) - image) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def fitted(truth: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the image after fitting one gain and one offset to the truth by least squares.

    For comparing images whose intensities differ by more than their noise: a sample that
    bleached between two captures, or files that were rescaled one by one.
    """
    centred = image.astype(np.float64) - image.mean()
    variance = float((centred**2).mean())
    covariance = float((centred * (truth - truth.mean())).mean())
    gain = covariance / variance if variance > 0 else 0.0
    return centred * gain + truth.mean()


def ms_ssim(truth: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Return the multi-scale structural similarity of two (Y, X) images, by torchmetrics.

    Raises
    ------
    MissingDependency
        If torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure as measure,
        )
    except ImportError as error:
        raise MissingDependency("torchmetrics", "evaluate", "MS-SSIM") from error
    import torch

    a, b = (
        torch.from_numpy(np.clip(x, 0, peak).astype(np.float32))[None, None] for x in (image, truth)
    )
    return float(measure(a, b, data_range=peak))


def spread_over_skill(truth: np.ndarray, mean: np.ndarray, std: np.ndarray, count: int) -> float:
    """Return the ratio of spread to error of `count` averaged samples; 1 is calibrated.

    Below 1 the std map is over-confident by the inverse of the ratio. The spread is
    sqrt(mean variance), unbiased (N / (N − 1)) and enlarged by 1 + 1/N for the mean's own error.

    References
    ----------
    Fortin et al. (2014), "Why should ensemble spread match the RMSE of the ensemble mean?",
    eq. 15.
    """
    if count < 2:
        return float("nan")
    variance = float((std.astype(np.float64) ** 2).mean()) * count / (count - 1)
    error = float(((truth.astype(np.float64) - mean) ** 2).mean())
    return float(np.sqrt(variance * (count + 1) / count / error))
