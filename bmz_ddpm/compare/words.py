"""What the numbers say, in plain sentences; the same on the page, in JSON and on the terminal."""

from __future__ import annotations

from ..evaluate.averaging import SQUARED_ERROR
from ..evaluate.statistics import FEWEST_FIELDS
from .table import Column, Comparison


def count(number: int, thing: str) -> str:
    """Return "1 image" or "2 images"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def ranked(comparison: Comparison) -> list[Column]:
    """Return the measures that know good and bad, and that the first method has."""
    return [c for c in comparison.columns if c.best is not None and 0 in c.present]


def verdict(comparison: Comparison) -> list[str]:
    """Say where the first method is best and where not, and whether the data can carry it."""
    own = comparison.names[0]
    columns = ranked(comparison)
    if len(comparison.names) == 1:
        return [f"Only {own} was evaluated: there is nothing to compare it with."]
    lost = [c for c in columns if not c.cells[0].best]
    won = [c for c in columns if c.cells[0].best]
    lines = []
    if lost:
        losses = "; ".join(_loss(comparison, c) for c in lost)
        lines.append(f"{own} is not the best in: {losses}.")
    if won:
        labels = ", ".join(c.measure.label for c in won)
        share = f"all {len(won)}" if not lost else f"{len(won)} of {len(columns)}"
        many = f"{share} measures" if len(columns) > 1 else "the only measure"
        at = 0 if len(won) > len(lost) else 1  # the larger part first
        lines.insert(at, f"{own} is the best in {many}: {labels}.")
    return [*lines, support(comparison)]


def _loss(comparison: Comparison, column: Column) -> str:
    assert column.best is not None
    label, text = column.measure.label, column.measure.text
    winner = column.cells[column.best]
    return (
        f"{label} ({comparison.names[column.best]} {text(winner.median)}, "
        f"here {text(column.cells[0].median)})"
    )


def support(comparison: Comparison) -> str:
    """Say how many independent fields there are, and what follows."""
    base = f"{count(comparison.images, 'image')} from {count(comparison.fields, 'field')} of view"
    if comparison.fields < FEWEST_FIELDS:
        return (
            f"{base}: {too_few(comparison.fields)}. No difference between methods can be called "
            "certain."
        )
    return f"{base}: enough for a paired test by field."


def too_few(fields: int) -> str:
    """Return the words that stand where a p-value cannot."""
    return f"too few fields ({fields}; at least {FEWEST_FIELDS} needed)"


def p_value(p: float) -> str:
    """Return a p-value as it is printed."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def averaging_lines(comparison: Comparison) -> list[str]:
    """Say what averaging gains, and what that means for the std maps."""
    lines = []
    for evaluation in comparison.evaluations:
        if evaluation.law is None:
            continue
        factor, counts = evaluation.law.overconfidence, evaluation.averaging[SQUARED_ERROR]
        first, last = min(counts), max(counts)
        gained = f"{evaluation.law.gain_db:.2f}".replace("-", "−")
        start = (
            f"{evaluation.name}: averaging {last} instead of {count(first, 'sample')} gains "
            f"{gained} dB, "
        )
        if factor == float("inf"):
            lines.append(start + "so nothing: the samples hardly differ.")
        elif factor > 1.05:
            lines.append(
                start + f"so its std maps are over-confident: {factor:.2f} times too small."
            )
        elif factor < 0.95:
            lines.append(
                start + f"so its std maps are too large: {1 / max(factor, 1e-9):.2f} times."
            )
        else:
            lines.append(start + f"so its std maps are calibrated (factor {factor:.2f}).")
    return lines
