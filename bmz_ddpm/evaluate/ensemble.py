"""Does the spread of the samples tell how wrong their mean is?"""

from __future__ import annotations

import numpy as np


def crps(truth: np.ndarray, samples: np.ndarray) -> float:
    """Return the continuous ranked probability score of an ensemble, in counts; 0 is best.

    Parameters
    ----------
    truth : (Y, X)
    samples : (N, Y, X)
        At least two. With one sample the score would be its mean absolute error.

    Returns
    -------
    float
        Mean over the pixels of E|sample − truth| − ½·E|sample − other sample|, the second
        expectation over pairs of different samples: without bias for any N ("fair").

    References
    ----------
    Gneiting, Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", eq. 21.
    Ferro (2014), "Fair scores for ensemble forecasts", eq. 2.
    """
    count = len(samples)
    if count < 2:
        return float("nan")
    error = np.abs(samples.astype(np.float64) - truth).mean()
    ordered = np.sort(samples.astype(np.float64), axis=0)
    # the sum of |a − b| over all pairs, from the ranks
    weight = 2 * np.arange(1, count + 1) - count - 1
    pairs = np.tensordot(weight, ordered, 1).mean() * 2 / (count * (count - 1))
    return float(error - pairs / 2)


def coverage(
    truth: np.ndarray, mean: np.ndarray, std: np.ndarray, count: int, level: float = 0.9
) -> float:
    """Return the share of pixels whose truth lies in the central interval; ideally `level`.

    Parameters
    ----------
    truth, mean : (Y, X)
        In counts.
    std : (Y, X)
        Population standard deviation of the samples, in counts.
    count : int
        Number of samples, N.
    level : float
        0.9 for the interval from the 5th to the 95th percentile.

    Returns
    -------
    float
        Not a number for fewer than two samples.

    Notes
    -----
    The interval is mean ± t·s·√(1 + 1/N), with s the unbiased standard deviation and t from
    Student's distribution with N − 1 degrees of freedom: the prediction interval that covers
    exactly `level` if truth and samples come from one normal distribution. Percentiles of a few
    samples would be too narrow.
    """
    if count < 2:
        return float("nan")
    from scipy.stats import t

    wide = t.ppf((1 + level) / 2, count - 1) * np.sqrt((1 + 1 / count) * count / (count - 1))
    return float((np.abs(truth.astype(np.float64) - mean) <= wide * std).mean())
