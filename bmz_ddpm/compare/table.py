"""Medians, the best of them, and how sure the differences are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, DataError, did_you_mean
from ..evaluate.statistics import Mood, Paired, mood_stars, paired_test
from .evaluations import Evaluation, Items
from .measures import MEASURES, Measure, measure_of


@dataclass
class Cell:
    """One method under one measure; `mood` and `paired` are None for the reference itself."""

    median: float
    best: bool = False
    mood: Mood | None = None
    paired: Paired | None = None


@dataclass
class Column:
    """One measure.

    Attributes
    ----------
    measure : Measure
    values : (M, N) float64
        Methods x images; all NaN for a method without this measure, else without NaN.
    items : (N,) int
        Numbers of the images in `Items`.
    fields : (N,) int
        Their fields of view.
    cells : list of Cell
        One per method.
    best, against : int or None
        The best method, and the one to which all others are compared.
    """

    measure: Measure
    values: np.ndarray
    items: np.ndarray
    fields: np.ndarray
    cells: list[Cell]
    best: int | None = None
    against: int | None = None

    @property
    def present(self) -> list[int]:
        """Return the methods that have this measure."""
        return [i for i, cell in enumerate(self.cells) if not np.isnan(cell.median)]


@dataclass
class Comparison:
    """Several methods on the same images.

    Attributes
    ----------
    evaluations : list of Evaluation
        The first is one's own method.
    names : list of str
    items : list of (image, plane)
    columns : list of Column
    images, fields, left_out : int
        Images that all methods have, their fields, and images that some method lacks.
    notes : list of str
        What a reader has to know about the data.
    """

    evaluations: list[Evaluation]
    names: list[str]
    items: list[tuple[str, str]]
    columns: list[Column]
    images: int
    fields: int
    left_out: int
    notes: list[str]


def compare(
    evaluations: list[Evaluation], items: Items, against: str | None = None, seed: int = 0
) -> Comparison:
    """Compare methods on the images that all of them have.

    Parameters
    ----------
    evaluations : list of Evaluation
    items : Items
    against : str, optional
        Name of the method to which the others are compared; by default the best one of each
        measure.
    seed : int
        Of the bootstrap.

    Raises
    ------
    DataError
        If no image is common to all.
    ConfigError
        If `against` is the name of none.
    """
    names = [e.name for e in evaluations]
    if against is not None and against not in names:
        raise ConfigError(
            f"--against {against}: is no method here{did_you_mean(against, names)}",
            f"choose {', '.join(names)}",
        )
    common = np.array(sorted(set.intersection(*(e.seen for e in evaluations))), dtype=np.intp)
    if not len(common):
        raise DataError(
            f"{', '.join(names)}: have no image in common",
            "evaluate all methods on the same images",
        )
    codes = np.unique(np.array(items.fields), return_inverse=True)[1]
    notes = _gaps(evaluations, len(items.index), len(common))
    columns = []
    keys = {key for e in evaluations for key in e.values}
    for key in [*(k for k in MEASURES if k in keys), *sorted(keys - set(MEASURES))]:
        measure = _measure(key, evaluations, notes)
        if measure is None:
            continue
        column = _column(measure, evaluations, common, codes)
        fewer = len(common) - len(column.items)
        if not column.present:
            continue
        if fewer:
            notes.append(
                f"{column.measure.label}: {fewer} of {len(common)} images have no value for some "
                "method and are left out of this measure."
            )
        _judge(column, None if against is None else names.index(against), seed)
        columns.append(column)
    if not columns:
        raise DataError(f"{', '.join(names)}: have no values in metrics.csv", "evaluate them again")
    return Comparison(
        evaluations,
        names,
        list(items.index),
        columns,
        len(common),
        len(np.unique(codes[common])),
        len(items.index) - len(common),
        notes,
    )


def _gaps(evaluations: list[Evaluation], total: int, common: int) -> list[str]:
    """Say how many images are left out, and who lacks them."""
    if total == common:
        return []
    lacking = [f"{e.name} lacks {total - len(e.seen)}" for e in evaluations if len(e.seen) < total]
    return [
        f"{total - common} of {total} images are left out, because not every method has them "
        f"({', '.join(lacking)})."
    ]


def _measure(key: str, evaluations: list[Evaluation], notes: list[str]) -> Measure | None:
    """Return a measure with its unit; None for resolutions in different units."""
    if key != "resolution":
        return measure_of(key)
    units = {
        e.name: e.about.resolution_unit
        for e in evaluations
        if not np.isnan(e.values.get(key, [np.nan])).all()
    }
    if len(set(units.values())) > 1:
        said = ", ".join(f"{name} {unit or 'unknown'}" for name, unit in units.items())
        notes.append(f"Resolution is left out, because its units differ: {said}.")
        return None
    unit = next(iter(units.values()), None)
    short = {"micrometre": "µm", "pixel": "pixels", None: ""}[unit]
    return measure_of(key)._replace(unit=short)


def _column(
    measure: Measure, evaluations: list[Evaluation], common: np.ndarray, codes: np.ndarray
) -> Column:
    values = np.full((len(evaluations), len(codes)), np.nan)
    for row, evaluation in zip(values, evaluations, strict=True):
        given = evaluation.values.get(measure.key, ())
        row[: len(given)] = given
    values = values[:, common]
    has = ~np.isnan(values).all(axis=1)
    whole = ~np.isnan(values[has]).any(axis=0)
    values, chosen = values[:, whole], common[whole]
    medians = np.full(len(evaluations), np.nan)
    if has.any() and len(chosen):
        medians[has] = np.median(values[has], axis=1)
    return Column(measure, values, chosen, codes[chosen], [Cell(float(m)) for m in medians])


def _judge(column: Column, against: int | None, seed: int) -> None:
    badness = column.measure.badness(np.array([cell.median for cell in column.cells]))
    if len(column.present) > 1 and not np.isnan(badness).all():  # nobody wins alone
        column.best = int(np.nanargmin(badness))
        winner = column.measure.text(column.cells[column.best].median)
        for cell in column.cells:  # what looks equal in the table is equally good
            cell.best = column.measure.text(cell.median) == winner
    column.against = column.best if against is None else against
    if column.against is None or column.against not in column.present:
        column.against = None
        return
    base = column.values[column.against]
    for i in column.present:
        if i != column.against:
            own = column.values[i]
            column.cells[i].mood = mood_stars(own, base)
            column.cells[i].paired = paired_test(own, base, column.fields, seed)
