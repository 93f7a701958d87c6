"""Baselines that are not trained: a blur, tuned or not, and BM3D with variance stabilisation."""

from __future__ import annotations

import numpy as np

from ..data.noise import NoiseModel
from ..data.planes import Planes
from ..errors import DataError, MissingDependency
from .metrics import psnr

#: The widest blur that is tried, in pixels.
WIDEST = 12.0


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Filter a (Y, X) image with a Gaussian of `sigma` pixels (scipy)."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image.astype(np.float64), sigma))


def best_gaussian(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the blur with the highest PSNR and its sigma, searched in steps of 0.1 pixel.

    Tuned on the truth it is no method, but the least a model must beat.
    """
    sigmas = np.arange(0.5, 4.05, 0.1)
    best = max(sigmas, key=lambda s: psnr(truth, gaussian(image, s)))
    return gaussian(image, best), float(best)


def blurred(low: np.ndarray, sigma: float) -> np.ndarray:
    """Filter each plane and channel of (P, C, Y, X) with a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(low.astype(np.float64), (0, 0, sigma, sigma)), np.float32)


def tune_sigma(fields: list[Planes]) -> float:
    """Return the sigma, in pixels, with the lowest mean squared error over all fields.

    Searched from 0 to 12 in steps of a quarter, then refined to 0.01 pixel around the best.

    Parameters
    ----------
    fields : list of Planes
        Those to tune on, never those to be scored with.

    Raises
    ------
    DataError
        If noisy and clean images have different channels.
    """
    from scipy.optimize import minimize_scalar

    for planes in fields:
        _require_same_channels(planes, "a blur")

    def error(sigma: float) -> float:
        total, count = 0.0, 0
        for low, high, mask in fields:
            squares = (blurred(low, sigma).astype(np.float64) - high) ** 2
            valid = np.broadcast_to(True if mask is None else mask, squares.shape)
            total, count = total + float(squares[valid].sum()), count + int(valid.sum())
        return total / count

    coarse = np.arange(0, WIDEST + 0.1, 0.25)
    best = float(min(coarse, key=error))
    around = (max(0.0, best - 0.25), best + 0.25)
    fine = float(minimize_scalar(error, around, bounds=around, options={"xatol": 0.005}).x)
    return min(best, round(fine, 2), key=error)


def _require_same_channels(planes: Planes, what: str) -> None:
    if planes.low.shape[1] != planes.high.shape[1]:
        raise DataError(
            f"pairs: {planes.low.shape[1]} channels in and {planes.high.shape[1]} out, {what} "
            "cannot change their number",
            "choose pix2pix, unet-rcan or care, which can",
        )


def stabilise(image: np.ndarray, noise: NoiseModel) -> np.ndarray:
    """Transform counts so that their noise has a standard deviation of about 1.

    Parameters
    ----------
    image : any shape, in counts
    noise : NoiseModel
        variance = gain·(mean − offset) + read_std².

    References
    ----------
    Starck, Murtagh, Bijaoui (1998): the generalised Anscombe transformation.
    """
    photons = (image.astype(np.float64) - noise.offset) / noise.gain
    sigma = noise.read_std / noise.gain
    return np.asarray(2 * np.sqrt(np.maximum(photons + 3 / 8 + sigma**2, 0)))


def unstabilise(stable: np.ndarray, noise: NoiseModel) -> np.ndarray:
    """Return the counts whose stabilised noisy values have this mean; not below no light.

    The algebraic inverse would be biased: the mean of a root is below the root of the mean.

    References
    ----------
    Mäkitalo, Foi (2013), "Optimal inversion of the generalized Anscombe transformation",
    eqs. 2 and 10 (closed-form approximation of the exact unbiased inverse).
    """
    sigma = noise.read_std / noise.gain
    d = np.maximum(stable, 2 * np.sqrt(3 / 8 + sigma**2))  # the transform of no light at all
    inverse = (
        d**2 / 4
        + np.sqrt(3 / 2) / (4 * d)
        - 11 / (8 * d**2)
        + 5 * np.sqrt(3 / 2) / (8 * d**3)
        - 1 / 8
        - sigma**2
    )
    return np.asarray(np.maximum(inverse, 0) * noise.gain + noise.offset)


def bm3d_stabilised(image: np.ndarray, noise: NoiseModel) -> np.ndarray:
    """Denoise a (Y, X) image in counts with BM3D after variance stabilisation.

    Raises
    ------
    MissingDependency
        If bm3d is not installed. It is free for non-commercial use only, so it is no dependency.
    """
    try:
        import bm3d
    except ImportError as error:
        fix = "pip install bm3d, if your use is not commercial: its licence asks for that"
        raise MissingDependency("bm3d", "", "the BM3D baseline", fix) from error
    stable = stabilise(image, noise)
    low, high = float(stable.min()), float(stable.max())
    if high == low:
        return image.astype(np.float64)
    clean = bm3d.bm3d((stable - low) / (high - low), 1 / (high - low)) * (high - low) + low
    return unstabilise(clean, noise)
