"""What a model has to beat: a blur tuned on the truth, and BM3D."""

from __future__ import annotations

import numpy as np

from ..errors import MissingDependency
from .metrics import psnr


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Filter a (Y, X) image with a Gaussian of `sigma` pixels (scipy)."""
    try:
        from scipy.ndimage import gaussian_filter
    except ImportError as error:
        raise MissingDependency("scipy", "evaluate", "the Gaussian baseline") from error
    return np.asarray(gaussian_filter(image.astype(np.float64), sigma))


def best_gaussian(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the blur with the highest PSNR and its sigma, searched in steps of 0.1 pixel.

    Tuned on the truth it is no method, but the least a model must beat.
    """
    sigmas = np.arange(0.5, 4.05, 0.1)
    best = max(sigmas, key=lambda s: psnr(truth, gaussian(image, s)))
    return gaussian(image, best), float(best)


def bm3d_stabilised(image: np.ndarray, gain: float, offset: float, read_std: float) -> np.ndarray:
    """Denoise with BM3D after variance stabilisation.

    Parameters
    ----------
    image : (Y, X)
        In counts.
    gain, offset, read_std : float
        Noise model: variance = gain·(mean − offset) + read_std².

    Notes
    -----
    The PyPI package bm3d is free for non-commercial use only, so it is no dependency.

    References
    ----------
    Mäkitalo, Foi (2013), "Optimal inversion of the generalized Anscombe transformation",
    eqs. 2 and 10 (closed-form approximation of the exact unbiased inverse).
    """
    try:
        import bm3d
    except ImportError as error:
        raise MissingDependency("bm3d", "evaluate", "the BM3D baseline") from error
    photons = (image.astype(np.float64) - offset) / gain
    sigma = read_std / gain
    stable = 2 * np.sqrt(np.maximum(photons + 3 / 8 + sigma**2, 0))
    low, high = float(stable.min()), float(stable.max())
    clean = bm3d.bm3d((stable - low) / (high - low), 1 / (high - low)) * (high - low) + low
    d = np.maximum(clean, 2 * np.sqrt(3 / 8 + sigma**2))  # the transform of no light at all
    inverse = (
        d**2 / 4
        + np.sqrt(3 / 2) / (4 * d)
        - 11 / (8 * d**2)
        + 5 * np.sqrt(3 / 2) / (8 * d**3)
        - 1 / 8
        - sigma**2
    )
    return np.maximum(inverse, 0) * gain + offset
