"""Measures of agreement between an image and its reference."""

from __future__ import annotations

import numpy as np

from ..errors import DataError, MissingDependency

#: torchmetrics halves the image four times and then wants more than its 11-pixel window.
LEAST_SIDE = 176


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


def nrmse(truth: np.ndarray, image: np.ndarray) -> float:
    """Return the root mean square error divided by the mean of the truth (the paper, eq. 9).

    Not a number where that mean is zero.
    """
    error = np.sqrt(np.mean((truth.astype(np.float64) - image) ** 2))
    mean = float(truth.mean(dtype=np.float64))
    return float(error / mean) if mean else float("nan")


def pearson(truth: np.ndarray, image: np.ndarray) -> float:
    """Return Pearson's correlation, -1 to 1; not a number if one of the two is constant."""
    a = truth.astype(np.float64) - truth.mean(dtype=np.float64)
    b = image.astype(np.float64) - image.mean(dtype=np.float64)
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / norm) if norm else float("nan")


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
    DataError
        If a side is shorter than 176 pixels.
    """
    refuse_small(truth, "MS-SSIM")
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


def refuse_small(image: np.ndarray, metric: str) -> None:
    """Refuse an image that is too small for five scales.

    Raises
    ------
    DataError
    """
    if min(image.shape) < LEAST_SIDE:
        raise DataError(
            f"{metric}: the image has {image.shape[0]} x {image.shape[1]} pixels, at least "
            f"{LEAST_SIDE} are needed on each side",
            "score larger images",
        )


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
