"""metrics.csv: one row per method, image, plane and metric; written and read row by row."""

from __future__ import annotations

import csv
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from sys import intern
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from ..files import replacing

COLUMNS = ("method", "field", "image", "plane", "metric", "value")


class Row(NamedTuple):
    """A line of metrics.csv.

    Attributes
    ----------
    plane : int
        Counts over t, z and c of the image.
    value : float or None
        None for n/a.
    """

    method: str
    field: str
    image: str
    plane: int
    metric: str
    value: float | None


def append_rows(path: Path, rows: Collection[Row]) -> None:
    """Add rows to the file, which is begun where it does not exist.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    try:
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerows(map(_cells, rows))
    except OSError as error:
        raise DataError(
            f"{path}: could not be written ({error.strerror})", "free some space, then repeat"
        ) from error


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows one by one.

    Raises
    ------
    DataError
        If it is not a metrics.csv.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if tuple(next(reader, ())) != COLUMNS:
                raise DataError(
                    f"{path}: is no table of bmz-ddpm evaluate, its columns must be "
                    f"{','.join(COLUMNS)}",
                    "name the metrics.csv that bmz-ddpm evaluate wrote",
                )
            for cells in reader:
                if len(cells) == len(COLUMNS):  # a cut last line is computed again
                    method, field, image, plane, metric, value = cells
                    number = float(value) if value else None
                    yield Row(method, field, image, int(plane), metric, number)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})", "evaluate again") from error


def keep_images(path: Path, images: Collection[str]) -> None:
    """Drop the rows of all other images: those of one that was interrupted halfway."""
    if not path.exists():
        return
    if not path.stat().st_size:
        path.unlink()
        return
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in read_rows(path) if row.image in images)


def _cells(row: Row) -> list[object]:
    return [*row[:5], "" if row.value is None else f"{row.value:.8g}"]


def medians(path: Path) -> dict[str, tuple[float, int, int]]:
    """Summarise a metrics.csv of one method.

    Returns
    -------
    dict
        Metric to (median, number of images, number of fields). Every plane of a stack counts as
        an image, as in ``bmz-ddpm compare`` and in the paper. The median is not a number where no
        image has a value.
    """
    values: dict[str, array[float]] = defaultdict(lambda: array("d"))
    fields: dict[str, set[str]] = defaultdict(set)
    for row in read_rows(path):
        known = values[row.metric]
        if row.value is not None:
            known.append(row.value)
            fields[row.metric].add(intern(row.field))  # one copy for all measures
    return {
        metric: (
            float(np.median(known)) if len(known) else float("nan"),
            len(known),
            len(fields[metric]),
        )
        for metric, known in values.items()
    }
