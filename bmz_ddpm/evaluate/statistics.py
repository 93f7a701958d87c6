"""Is one method better than another, or is it chance? Fields of view count, files do not.

Images of one field (captures, patches, planes) are not independent: testing them as if they
were makes any difference significant. The paper's test is kept, for comparison with the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: With fewer, no result of a two-sided Wilcoxon test is below 0.05 (with five: 2/2⁵ = 0.0625).
FEWEST_FIELDS = 6
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
RESAMPLES = 2000
_CHUNK = 1 << 20


class Mood(NamedTuple):
    """Result of Mood's median test: p, and the stars at .05, .01 and .001."""

    p: float
    stars: str


class Paired(NamedTuple):
    """What a paired comparison by field found.

    Attributes
    ----------
    fields : int
        Independent fields of view.
    difference : float
        Mean over the fields of the mean of `a` − `b`; the unit of `a`.
    low, high, p : float or None
        Interval of 95 % of the difference and p of Wilcoxon's test; None for too few fields.
    """

    fields: int
    difference: float
    low: float | None
    high: float | None
    p: float | None


def stars(p: float) -> str:
    r"""Return \*, \*\* or \*\*\* for p below .05, .01 or .001, as in the paper; else ""."""
    return next((mark for limit, mark in STARS if p < limit), "")


def mood_stars(a: np.ndarray, b: np.ndarray) -> Mood:
    """Compare two medians as the paper does: every image counts as independent.

    Parameters
    ----------
    a, b : (N,) float64
        Values of two methods, without NaN.

    Returns
    -------
    Mood
        p is 1 where there is nothing to test: no values, or all the same.

    References
    ----------
    Mood (1950), "Introduction to the theory of statistics", p. 394; by scipy, with Yates'
    correction, values equal to the grand median counted as below it.
    """
    from scipy.stats import median_test

    together = np.concatenate([a, b])
    if not len(a) or not len(b) or not (together > np.median(together)).any():
        return Mood(1.0, "")
    p = float(median_test(a, b).pvalue)
    return Mood(p, stars(p))


def paired_test(a: np.ndarray, b: np.ndarray, fields: np.ndarray, seed: int = 0) -> Paired:
    """Compare two methods on the same images, with fields of view as the independent units.

    Parameters
    ----------
    a, b : (N,) float64
        Values of two methods on the same images, without NaN.
    fields : (N,) int
        Field of view of each image.
    seed : int
        Of the bootstrap.

    References
    ----------
    Wilcoxon (1945), "Individual comparisons by ranking methods"; by scipy, on field means.
    Efron, Tibshirani (1993), "An introduction to the bootstrap", chapter 13: percentile interval
    over resampled fields.
    """
    from scipy.stats import wilcoxon

    with np.errstate(invalid="ignore"):
        each = a - b
    _, codes = np.unique(fields, return_inverse=True)
    means = np.bincount(codes, each) / np.bincount(codes) if len(each) else np.empty(0)
    count, difference = len(means), float(means.mean()) if len(means) else float("nan")
    if count < FEWEST_FIELDS or not np.isfinite(means).all():
        return Paired(count, difference, None, None, None)
    p = float(wilcoxon(means).pvalue) if means.any() else 1.0
    low, high = np.percentile(_bootstrap_means(means, seed), [2.5, 97.5])
    return Paired(count, difference, float(low), float(high), p)


def _bootstrap_means(means: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(means))  # bounds the memory when every image is a field
    parts = [
        means[rng.integers(len(means), size=(min(rows, RESAMPLES - done), len(means)))].mean(1)
        for done in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)
