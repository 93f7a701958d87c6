"""What the gain from averaging says about the uncertainty."""

from __future__ import annotations

import numpy as np


def overconfidence(curve: dict[int, list[float]]) -> float:
    """Return by how much the std maps are too small, from PSNR against averaged samples.

    The error of an average of N samples is MSE = B + V / N, where V is the variance of the
    samples. Samples of the true posterior have B = V, a spread as large as the error; the
    factor is sqrt(B / V).

    Parameters
    ----------
    curve : dict of int to list of float
        PSNR in dB by number of averaged samples.

    Returns
    -------
    float
        1 is calibrated, 2 is over-confident by 2; infinite if averaging gains nothing, NaN for
        fewer than two numbers of samples. Below 1 if averaging gains more than it should.

    References
    ----------
    Fortin et al. (2014), "Why should ensemble spread match the RMSE of the ensemble mean?",
    eqs. 12 to 15, which this solves for spread and error.
    """
    counts = np.array(sorted(curve), dtype=np.float64)
    if len(counts) < 2:
        return float("nan")
    error = 10 ** (-np.array([np.mean(curve[int(n)]) for n in counts]) / 10)
    variance, bias = np.polyfit(1 / counts, error, 1)
    if variance <= 0:
        return float("inf")
    return float(np.sqrt(max(bias, 0.0) / variance))


def gain(curve: dict[int, list[float]]) -> tuple[int, int, float]:
    """Return the fewest and the most samples, and the difference of their means."""
    first, last = min(curve), max(curve)
    return first, last, float(np.mean(curve[last]) - np.mean(curve[first]))
