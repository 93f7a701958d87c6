"""Is one method better than another, or is it chance? Fields of view count, files do not.

Images of one field (captures, patches, planes) are not independent: testing them as if they
were makes any difference significant. The paper's test is kept, for comparison with the paper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: Fewer pairs can never give a two-sided p below .05 in Wilcoxon's test: 2/2^5 = .0625.
LEAST_FIELDS = 6
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Paired:
    """The difference of two methods, field by field.

    Attributes
    ----------
    fields : int
        Number of independent fields that both methods have.
    difference : float
        Median or mean, over the fields, of (first − second).
    low, high : float or None
        Ends of the bootstrap interval of `difference`; None for fewer than two fields.
    p : float or None
        Wilcoxon's signed-rank test, two-sided; None where there are too few fields.
    note : str
        Why `p` is missing, or "".
    """

    fields: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    note: str = ""


def stars(p: float | None) -> str:
    r"""Return \*, \*\* or \*\*\* for p below .05, .01 or .001, as in the paper; else ""."""
    return next((mark for limit, mark in STARS if p is not None and p < limit), "")


def field_means(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Average the values of every field.

    Parameters
    ----------
    rows : (field, value) pairs
        Values that are not finite are left out; so is a field that has no other.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for field, value in rows:
        if np.isfinite(value):
            sums[field][0] += value
            sums[field][1] += 1
    return {field: total / count for field, (total, count) in sums.items()}


def mood_median(first: Iterable[float], second: Iterable[float]) -> float | None:
    """Return the p-value of Mood's median test on all files, as in the paper.

    It takes every file for an independent sample, which files of one field are not.

    Returns
    -------
    float or None
        None if there is nothing to test: no values, or all of them alike.
    """
    from scipy.stats import median_test

    a, b = (np.array([v for v in values if np.isfinite(v)]) for values in (first, second))
    if not len(a) or not len(b):
        return None
    joint = np.concatenate([a, b])
    middle = np.median(joint)
    if (joint <= middle).all():  # the table has an empty row
        return None
    return float(median_test(a, b).pvalue)


def paired(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    statistic: Literal["median", "mean"] = "median",
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Compare two methods on the fields that both have.

    Parameters
    ----------
    first, second : mapping
        Field to value, from `field_means`.
    statistic : "median" or "mean"
        Of the differences.
    level : float
        Of the interval: 0.95 for 95 %.
    seed : int
        Of the 10 000 bootstrap draws; fields are drawn, not files.

    Returns
    -------
    Paired

    References
    ----------
    Wilcoxon (1945). Efron, Tibshirani (1993), "An introduction to the bootstrap", percentile
    interval.
    """
    shared = sorted(first.keys() & second.keys())
    differences = np.array([first[field] - second[field] for field in shared])
    count = len(shared)
    if not count:
        return Paired(0, float("nan"), None, None, None, "the methods share no field")
    center = np.median if statistic == "median" else np.mean
    low = high = None
    if count >= 2:
        draws = np.random.default_rng(seed).integers(0, count, (10_000, count))
        spread = center(differences[draws], axis=1)
        tail = (1 - level) / 2
        low, high = (float(q) for q in np.quantile(spread, [tail, 1 - tail]))
    p, note = None, ""
    if count < LEAST_FIELDS:
        note = (
            f"{count} independent field{'s' if count > 1 else ''}: no p-value, with fewer than "
            f"{LEAST_FIELDS} none can be below .05"
        )
    else:
        p = _wilcoxon(differences)
    return Paired(count, float(center(differences)), low, high, p, note)


def _wilcoxon(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
