"""Read what `bmz-ddpm evaluate` wrote; large tables row by row."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from ..errors import DataError
from ..evaluate.averaging import SQUARED_ERROR, Averaging, fit_averaging
from ..evaluate.journal import FORMAT, REPORT, TABLE
from ..evaluate.results import COLUMNS

AGAIN = "repeat bmz-ddpm evaluate"


class EvaluatedPair(BaseModel):
    """Files of one image; paths are relative to the folder of the evaluation, or absolute."""

    image: str
    field: str = ""
    low: str
    high: str
    prediction: str | None = None
    std: str | None = None
    entropy: str | None = None


class Failure(BaseModel):
    """An image that could not be evaluated, and why."""

    image: str
    reason: str


class Model(BaseModel):
    """Which weights were used."""

    name: str = ""
    sha256: str | None = None


class About(BaseModel):
    """What stands in ``evaluation.json``."""

    format: str
    method: str
    model: Model | None = None
    settings: dict[str, Any] = {}
    pairs: list[EvaluatedPair] = []
    seconds_per_megapixel: float | None = None
    peak: float | None = None
    resolution_unit: Literal["micrometre", "pixel"] | None = None
    notes: list[str] = []
    failed: list[Failure] = []


@dataclass
class Items:
    """All images that any evaluation names, each plane of a stack counted singly.

    Attributes
    ----------
    index : dict
        (image, plane) to its number.
    fields : list of str
        Field of view of each; an image without one is a field of its own.
    """

    index: dict[tuple[str, str], int] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)

    def number(self, image: str, plane: str, name: str) -> int:
        """Return the number of an image, a new one if it was never seen.

        Raises
        ------
        ValueError
            If it was seen with another field of view.
        """
        at = self.index.setdefault((image, plane), len(self.index))
        if at == len(self.fields):
            self.fields.append(name or image)
        elif self.fields[at] != (name or image):
            raise ValueError(
                f"field of {image} is '{name or image}', but elsewhere '{self.fields[at]}'"
            )
        return at


@dataclass
class Evaluation:
    """One method on many images.

    Attributes
    ----------
    name : str
        Of the method.
    folder : Path
    about : About
    values : dict of str to array("d")
        For each measure one value per number in `Items`; NaN where there is none. It may be
        shorter than `Items`.
    seen : set of int
        Numbers of the images that it names.
    averaging : dict of str to dict of int to list of float
        For each measure, its values by number of averaged samples.
    """

    name: str
    folder: Path
    about: About
    values: dict[str, array[float]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    averaging: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    @property
    def law(self) -> Averaging | None:
        """Return what averaging gains; None for fewer than two numbers of samples."""
        curve = self.averaging.get(SQUARED_ERROR, {})
        counts = sorted(curve)
        errors = [fmean(curve[n]) for n in counts]
        if len(counts) < 2 or min(errors) <= 0:
            return None
        return fit_averaging(counts, errors)


def read_evaluations(arguments: list[str]) -> tuple[list[Evaluation], Items]:
    """Read evaluations, the first of them being one's own method.

    Parameters
    ----------
    arguments : list of str
        Folders, or ``NAME=FOLDER`` to give the method another name.

    Raises
    ------
    DataError
        If one is missing, damaged, or of another format, or two have the same name.
    """
    items, found = Items(), list[Evaluation]()
    for argument in arguments:
        evaluation = _read(argument, items)
        for other in found:
            if other.name == evaluation.name:
                raise DataError(
                    f"{argument}: its method '{evaluation.name}' is also that of {other.folder}, "
                    "every method needs a name of its own",
                    f"name it: 'ANOTHER NAME={evaluation.folder}'",
                )
        found.append(evaluation)
    return found, items


def _read(argument: str, items: Items) -> Evaluation:
    name, _, rest = argument.rpartition("=")
    if Path(argument).exists() or not name:
        name, rest = "", argument
    folder = Path(rest)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: is no folder, expected what bmz-ddpm evaluate wrote", "check the path"
        )
    about = _about(folder / REPORT)
    evaluation = Evaluation(_printable(name or about.method), folder, about)
    if not evaluation.name:
        raise DataError(f"{folder}: its method has no name", f"name it: 'NAME={folder}'")
    _read_metrics(folder / TABLE, evaluation, items)
    if (folder / "averaging.csv").exists():
        _read_averaging(folder / "averaging.csv", evaluation)
    return evaluation


def _printable(name: str) -> str:
    """Return a name without line breaks and control characters, which no figure can show."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split())
    )


def _about(path: Path) -> About:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror})", "name a folder that evaluate wrote"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: is damaged ({error})", AGAIN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        given = content.get("format") if isinstance(content, dict) else None
        raise DataError(f"{path}: format is {given!r}, expected {FORMAT!r}", AGAIN)
    try:
        return About.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg']}", AGAIN) from error


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and the named columns of every row; other columns are passed over."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(
                    f"{path}: has no column {', '.join(missing)}, it needs {', '.join(columns)}",
                    AGAIN,
                )
            at = [header.index(name) for name in columns]
            for row in reader:
                if len(row) != len(header):
                    raise DataError(
                        f"{path}: line {reader.line_num} has {len(row)} values, "
                        f"the header {len(header)}",
                        AGAIN,
                    )
                yield reader.line_num, [row[i] for i in at]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", AGAIN) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no table of text ({error})", AGAIN) from error


def _read_metrics(path: Path, evaluation: Evaluation, items: Items) -> None:
    method = evaluation.about.method
    for line, (by, name, image, plane, metric, value) in _rows(path, COLUMNS):
        try:
            if by != method:
                raise ValueError(f"method is '{by}', evaluation.json says '{method}'")
            number = items.number(image, plane, name)
            column = evaluation.values.setdefault(metric, array("d"))
            column.extend([nan] * (number + 1 - len(column)))
            if column[number] == column[number]:  # is a number already
                raise ValueError(
                    f"{metric} of {image}, plane {plane or 'none'}, stands there twice"
                )
            column[number] = float(value) if value else nan
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}", AGAIN) from error
        evaluation.seen.add(number)


def _read_averaging(path: Path, evaluation: Evaluation) -> None:
    for line, (samples, metric, value) in _rows(path, ("samples", "metric", "value")):
        try:
            count, number = int(samples), float(value or "nan")
            if count < 1:
                raise ValueError(f"samples is {count}, must be at least 1")
            if number == number:  # is a number
                curve = evaluation.averaging.setdefault(metric, {})
                curve.setdefault(count, []).append(number)
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}", AGAIN) from error
