"""Which fields of view are for training, for validation and for tests."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ..errors import DataError, did_you_mean
from .pair import SPLITS, Pair

WORDS = {"train": "training", "val": "validation", "test": "the test"}


def split_one_in_ten(source: Path, pairs: Sequence[Pair]) -> list[Pair]:
    """Keep one field of view in ten, at least one, for validation.

    Raises
    ------
    DataError
        If there is only one.
    """
    names = sorted({p.fov for p in pairs})
    if len(names) < 2:
        raise DataError(
            f"{source}: only one field of view ('{names[0]}'), at least two are needed, one of "
            "them to validate on",
            "add images of another field, or a column 'fov' that tells the fields apart",
        )
    held_out = set(names[:: max(2, min(10, len(names)))])
    return [replace(p, split="val" if p.fov in held_out else "train") for p in pairs]


def split_by_counts(
    source: Path, pairs: Sequence[Pair], counts: tuple[int, int, int], seed: int
) -> list[Pair]:
    """Draw fields of view for training, validation and tests.

    The fields are sorted by a hash of the seed and their name: the same names are split the
    same way on every machine. With another number of fields than the sum of `counts`, the
    shares are kept, with at least one field each.

    Raises
    ------
    DataError
        If there are fewer than three fields.
    """
    names = sorted(
        {p.fov for p in pairs},
        key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest(),
    )
    if len(names) < 3:
        raise DataError(
            f"{source}: has {len(names)} fields of view, at least three are needed for training, "
            "validation and tests",
            "add images of other fields, or decide with --split-file",
        )
    share = len(names) / sum(counts)
    val, test = (max(1, round(n * share)) for n in counts[1:])
    place = dict.fromkeys(names, "train")
    place |= dict.fromkeys(names[:test], "test")
    place |= dict.fromkeys(names[test : test + val], "val")
    return [replace(p, split=place[p.fov]) for p in pairs]


def split_by_names(
    source: Path, pairs: Sequence[Pair], val: Sequence[str], test: Sequence[str]
) -> list[Pair]:
    """Keep the named fields of view for validation and tests; "19" also means "TYPE/19".

    Raises
    ------
    DataError
        If no field for validation is there.
    """
    place = dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    split = [replace(p, split=place.get(p.fov.rpartition("/")[2], "train")) for p in pairs]
    if not any(p.split == "val" for p in split):
        raise DataError(
            f"{source}: has no field of view '{val[0]}', which this data set validates on",
            "add it, or decide with --split-file",
        )
    return split


def split_by_file(pairs: Sequence[Pair], path: Path) -> list[Pair]:
    """Split as a CSV file with the columns fov and split says.

    Raises
    ------
    DataError
        If the file cannot be used, or does not name a field that is there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: is not a CSV file ({error})", "save it as CSV in UTF-8"
        ) from error
    place: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        fov, split = row.get("fov"), row.get("split")
        if not fov or split not in SPLITS:
            raise DataError(
                f"{path}: line {number} needs 'fov' and 'split' ({', '.join(SPLITS)})",
                "write the columns fov,split, one line per field of view",
            )
        if place.setdefault(fov, split) != split:
            raise DataError(
                f"{path}: field of view '{fov}' is in {WORDS[place[fov]]} and in {WORDS[split]}",
                "name each field once",
            )
    for pair in pairs:
        if pair.fov not in place:
            raise DataError(
                f"{path}: does not name the field of view '{pair.fov}'"
                f"{did_you_mean(pair.fov, place)}",
                "add a line for it",
            )
    return [replace(p, split=place[p.fov]) for p in pairs]


def refuse_leaks(source: Path, pairs: Sequence[Pair]) -> None:
    """Refuse a field of view, or an image, in two splits.

    Raises
    ------
    DataError
    """
    for one, other in combinations(SPLITS, 2):
        sides = [[p for p in pairs if p.split == split] for split in (one, other)]
        both = set.intersection(*({p.fov for p in side} for side in sides))
        if both:
            raise DataError(
                f"{source}: field of view '{min(both)}' is in {WORDS[one]} and in {WORDS[other]}",
                "give all images of one field the same split",
            )
        files = set.intersection(*({f for p in side for f in (p.low, p.high)} for side in sides))
        if files:
            raise DataError(
                f"{min(files)}: is in {WORDS[one]} and in {WORDS[other]}, as images of two fields "
                "of view",
                "give all pairs of one image the same field and split",
            )
