"""All measures of one plane, by the names that metrics.csv uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UserError
from .ensemble import coverage, crps
from .metrics import fitted, mae, ms_ssim, nrmse, pearson, psnr, spread_over_skill
from .perceptual import lpips, micro_ms3im
from .prediction import Prediction
from .resolution import resolution

METRICS = (
    "mae", "psnr", "ms_ssim", "lpips", "nrmse", "pearson", "resolution", "resolution_ratio",
    "psnr_fitted", "micro_ms3im", "crps", "spread_skill", "coverage_90",
)  # fmt: skip
#: Those that say how alike two images are, without any uncertainty.
FIDELITY = METRICS[:10]


def score_plane(
    truth: np.ndarray,
    prediction: Prediction,
    index: int,
    peak: float,
    pixel_size: float | None,
    valid: np.ndarray | None = None,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Score one plane.

    Parameters
    ----------
    truth : (Y, X)
        In counts.
    prediction : Prediction
    index : int
        Number of the plane in it.
    peak : float
        Largest possible count.
    pixel_size : float or None
        Unit of the resolution; None leaves the resolution out, not the ratio.
    valid : (Y, X) bool, optional
        Pixels that count. Measures that look at neighbourhoods take the rectangle around them
        and see the truth at the others.

    Returns
    -------
    values : dict
        Every name of `METRICS`; None for n/a.
    reasons : dict
        Metric to the reason why it is n/a.
    """
    image = prediction.mean[index]
    std = None if prediction.std is None else prediction.std[index]
    samples = None if prediction.samples is None else prediction.samples[:, index]
    where = slice(None), slice(None)
    pixels = np.ones(truth.shape, bool) if valid is None else valid
    if not pixels.all():
        where = _rectangle(pixels)
    inside = pixels[where]
    whole = truth[where], np.where(inside, image[where], truth[where])
    flat = truth[pixels], image[pixels]
    values, reasons = similarity(*whole, *flat, peak, pixel_size)
    if std is None or prediction.count is None:
        reasons |= dict.fromkeys(
            ("spread_skill", "coverage_90"), "the method gives no std, or not of how many samples"
        )
    elif prediction.count < 2:
        reasons |= dict.fromkeys(("spread_skill", "coverage_90"), "one sample has no spread")
    else:
        count, spread = prediction.count, std[pixels]
        values["spread_skill"] = spread_over_skill(*flat, spread, count)
        values["coverage_90"] = coverage(*flat, spread, count)
    if samples is None or len(samples) < 2:
        reasons["crps"] = "needs the single samples, which only a checkpoint gives (two or more)"
    else:
        values["crps"] = crps(flat[0], samples[:, pixels])
    return _finite(values, reasons)


def similarity(
    truth: np.ndarray,
    image: np.ndarray,
    flat_truth: np.ndarray,
    flat_image: np.ndarray,
    peak: float,
    pixel_size: float | None,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the values of `FIDELITY`, and the reasons of those that are missing.

    Parameters
    ----------
    truth, image : (Y, X)
    flat_truth, flat_image : (K,)
        The pixels of both that count.
    peak, pixel_size
        As for `score_plane`.
    """
    values: dict[str, float | None] = {
        "mae": mae(flat_truth, flat_image),
        "psnr": psnr(flat_truth, flat_image, peak),
        "nrmse": nrmse(flat_truth, flat_image),
        "pearson": pearson(flat_truth, flat_image),
        "psnr_fitted": psnr(flat_truth, fitted(flat_truth, flat_image), peak),
    }
    reasons: dict[str, str] = {}
    jobs: dict[str, Callable[[], float]] = {
        "ms_ssim": lambda: ms_ssim(truth, image, peak),
        "lpips": lambda: lpips(truth, image, peak),
        "micro_ms3im": lambda: micro_ms3im(truth, image),
    }
    for name, job in jobs.items():
        try:
            values[name] = job()
        except UserError as error:
            reasons[name] = f"{error.problem} (fix: {error.fix})"
    pixels = resolution(image)
    if pixel_size is None:
        reasons["resolution"] = "the pixel size is unknown, others of this set are in micrometre"
    else:
        values["resolution"] = pixels * pixel_size
    values["resolution_ratio"] = pixels / resolution(truth)
    return values, reasons


def _finite(
    values: dict[str, float | None], reasons: dict[str, str]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Turn what is not a number into n/a; complete the names."""
    for name, value in values.items():
        if value is not None and np.isnan(value):
            values[name] = None
            reasons[name] = "is not defined for these images (constant, or without any detail)"
    return {name: values.get(name) for name in METRICS}, reasons


def _rectangle(pixels: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
