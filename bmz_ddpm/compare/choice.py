"""Which images are shown, by a rule and not by taste."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .table import Column, Comparison

#: From good to bad, in the order in which images are added.
_RANKS = (
    (0.5, "typical: the median"),
    (0.0, "the best"),
    (1.0, "the worst"),
    (0.25, "better than three quarters"),
    (0.75, "worse than three quarters"),
)


class Choice(NamedTuple):
    """An image to show: its number in `Items`, and why it was chosen."""

    item: int
    why: str


def deciding(comparison: Comparison) -> Column:
    """Return the measure that ranks the images: MAE, else the first that knows good and bad."""
    own = [c for c in comparison.columns if 0 in c.present]
    ranked = [c for c in own if c.measure.aim is not None] or own or comparison.columns
    return next((c for c in ranked if c.measure.key == "mae"), ranked[0])


def choose(comparison: Comparison, count: int) -> list[Choice]:
    """Choose images by how well the first method does on them.

    Parameters
    ----------
    comparison : Comparison
    count : int
        How many; the median comes first, then the best, the worst, and what lies between.
    """
    column = deciding(comparison)
    values = column.values[0] if 0 in column.present else column.values[column.present[0]]
    badness = column.measure.badness(values)
    if np.isnan(badness).all():
        badness = values
    order = np.argsort(badness, kind="stable")
    found: dict[int, Choice] = {}
    for share, words in _ranked(count):
        at = int(order[round(share * (len(order) - 1))])
        value = column.measure.text(float(values[at]))
        text = f"{words} {column.measure.label} of {comparison.names[0]} ({value})"
        found.setdefault(at, Choice(int(column.items[at]), text))
        if len(found) == count:
            break
    return list(found.values())


def _ranked(count: int) -> list[tuple[float, str]]:
    steps = [(k + 1) / (2 * count + 2) for k in range(2 * count + 1)]  # enough, if some coincide
    return [*_RANKS, *((share, f"rank {share:.0%} from the best") for share in steps)]
