"""Find the pairs of a data set: which noisy image belongs to which clean one."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError, did_you_mean
from .images import SUFFIXES

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """One noisy image and its clean reference.

    Attributes
    ----------
    low, high : Path
    fov : str
        Field of view. Images of one field are never split between training and validation.
    split : str
        "train", "val", "test", or "" when not yet decided.
    mask : Path, optional
        Image that is zero where the clean image holds nothing.
    """

    low: Path
    high: Path
    fov: str
    split: str = ""
    mask: Path | None = None


def find_pairs(
    source: Path,
    root: Path | None = None,
    select: Mapping[str, list[str]] | None = None,
    test: bool = False,
) -> list[Pair]:
    """List the pairs of a folder or CSV file.

    Parameters
    ----------
    source : Path
        A folder with ``low/`` and ``high/`` (same file names), or a CSV file with columns
        low, high and optionally mask, fov and split (train, val, test).
    root : Path, optional
        Folder that the paths in the CSV start from; the CSV's own folder when not given.
    select : mapping, optional
        Column name to the values to keep (CSV only).
    test : bool
        List the rows with test, too, after the others; they are left out when not given.

    Returns
    -------
    list of Pair
        Every pair has its split decided: where the source names none, one field of view in
        ten, at least one, is kept for validation.

    Raises
    ------
    DataError
        If there is nothing to read, a partner is missing, or a field is in both splits.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: does not exist", "name a folder with low/ and high/, or a CSV")
    if source.is_dir():
        if select:
            raise DataError(f"{source}: is a folder, --select needs a CSV file", "leave it out")
        pairs = _from_folder(source)
    else:
        pairs = _from_csv(source, source.parent if root is None else Path(root), select or {})
    held_out = [p for p in pairs if p.split == "test"]
    pairs = _split(source, [p for p in pairs if p.split != "test"])
    seen = {p.fov for p in pairs}
    for pair in held_out:
        if pair.fov in seen:
            raise DataError(
                f"{source}: field of view '{pair.fov}' is in the test and elsewhere",
                "give all images of one field the same split",
            )
    return pairs + held_out if test else pairs


def _from_folder(folder: Path) -> list[Pair]:
    files: dict[str, dict[str, Path]] = {}
    for kind in ("low", "high"):
        if not (folder / kind).is_dir():
            raise DataError(
                f"{folder}: has no folder '{kind}', pairs are read from low/ and high/",
                "put the noisy images into low/ and the clean ones into high/",
            )
        files[kind] = {}
        for path in sorted((folder / kind).iterdir()):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            if path.stem in files[kind]:
                raise DataError(
                    f"{path}: another image is called '{path.stem}' too, names must differ",
                    "move one of them away",
                )
            files[kind][path.stem] = path
    if not files["low"]:
        raise DataError(f"{folder / 'low'}: holds no TIFF or PNG image", "put the images there")
    for kind, other in (("low", "high"), ("high", "low")):
        for stem, path in files[kind].items():
            if stem not in files[other]:
                raise DataError(
                    f"{path}: has no partner '{stem}' in {folder / other}",
                    "add it, or move this image away",
                )
    return [Pair(files["low"][stem], files["high"][stem], stem) for stem in files["low"]]


def _from_csv(path: Path, root: Path, select: Mapping[str, list[str]]) -> list[Pair]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # Excel marks UTF-8 files
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, row) for row in reader]
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: is not a CSV file ({error})", "save it as CSV in UTF-8"
        ) from error
    for name in ("low", "high", *select):
        if name not in columns:
            hint = did_you_mean(name, columns)
            raise DataError(
                f"{path}: has no column '{name}'{hint}", f"its columns are {', '.join(columns)}"
            )
    for number, row in lines:
        _check_row(f"{path}: line {number}", row)
    rows = [row for _, row in lines]
    for name, values in select.items():
        rows = [row for row in rows if row[name] in values]
    if not any(row.get("split") != "test" for row in rows):
        raise DataError(f"{path}: no row is left to train on", "check the file and --select")
    pairs = []
    for row in rows:
        split = row.get("split") or ""
        split = split if split in ("val", "test") else "train"
        low, high = root / row["low"], root / row["high"]
        mask = root / row["mask"] if row.get("mask") else None
        for file in (low, high, *([mask] if mask else [])):
            if not file.is_file():
                raise DataError(f"{file}: named in {path} but does not exist", "check --root")
        pairs.append(Pair(low, high, row.get("fov") or low.stem, split, mask))
    if not any(p.split == "val" for p in pairs):
        pairs = [p if p.split == "test" else replace(p, split="") for p in pairs]
    return pairs


def _check_row(place: str, row: Mapping[str, str | None]) -> None:
    for name in ("low", "high"):
        if not row[name]:
            raise DataError(f"{place} has no '{name}'", "fill it in, or delete the line")
    split = row.get("split")
    if split and split not in SPLITS:
        raise DataError(
            f"{place}: split '{split}' is unknown{did_you_mean(split, SPLITS)}",
            f"known are {', '.join(SPLITS)}, or leave it empty",
        )


def _split(source: Path, pairs: list[Pair]) -> list[Pair]:
    if all(p.split for p in pairs):
        fields = {s: {p.fov for p in pairs if p.split == s} for s in ("train", "val")}
        both = fields["train"] & fields["val"]
        if both:
            raise DataError(
                f"{source}: field of view '{min(both)}' is in training and in validation",
                "give all images of one field the same split",
            )
        if not any(p.split == "train" for p in pairs):
            raise DataError(f"{source}: every row is for validation", "mark some rows as train")
        return pairs
    names = sorted({p.fov for p in pairs})
    if len(names) < 2:
        raise DataError(
            f"{source}: only one field of view ('{names[0]}'), at least two are needed, one of "
            "them to validate on",
            "add images of another field, or a column 'fov' that tells the fields apart",
        )
    held_out = set(names[:: max(2, min(10, len(names)))])
    return [replace(p, split="val" if p.fov in held_out else "train") for p in pairs]
