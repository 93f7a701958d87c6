"""The ways in which pairs lie on a disk: two folders, a CSV file, or as in FMD."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError, did_you_mean
from .images import image_name, is_image
from .metadata import check_axes
from .pair import SPLITS, Pair

#: Noise levels of FMD: single captures, and averages of 2 to 16 of them.
FMD_LEVELS = ("raw", "avg2", "avg4", "avg8", "avg16")


def read_folder(folder: Path) -> list[Pair]:
    """Pair ``low/`` and ``high/`` by file names; every file is a field of view of its own.

    Raises
    ------
    DataError
        If a folder or a partner is missing, or two images have the same name.
    """
    files: dict[str, dict[str, Path]] = {}
    for kind in ("low", "high"):
        if not (folder / kind).is_dir():
            raise DataError(
                f"{folder}: has no folder '{kind}', pairs are read from low/ and high/",
                "put the noisy images into low/ and the clean ones into high/",
            )
        files[kind] = {}
        for path in filter(is_image, sorted((folder / kind).iterdir())):
            if image_name(path) in files[kind]:
                raise DataError(
                    f"{path}: another image is called '{image_name(path)}' too, names must differ",
                    "move one of them away",
                )
            files[kind][image_name(path)] = path
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


def read_csv(path: Path, root: Path, select: Mapping[str, list[str]]) -> list[Pair]:
    """Read columns low, high and, if there, mask, fov, split, axes, low_channel, high_channel.

    Without a column fov, rows with the same clean image, or else each noisy image, are a field.
    Empty splits are "" where no row is for validation, otherwise "train".

    Raises
    ------
    DataError
        If it is no such CSV file, a file is missing, or no row is left.
    """
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
    if not rows:
        raise DataError(f"{path}: no row is left to train on", "check the file and --select")
    decided = any(row.get("split") == "val" for row in rows)
    field_of: dict[Path, str] = {}
    pairs = []
    for row in rows:
        low, high = root / row["low"], root / row["high"]
        mask = root / row["mask"] if row.get("mask") else None
        for file in (low, high, *([mask] if mask else [])):
            if not file.exists():
                raise DataError(f"{file}: named in {path} but does not exist", "check --root")
        fov = row.get("fov") or field_of.setdefault(high, image_name(low))
        split = row.get("split") or "train"
        split = "" if split == "train" and not decided else split
        axes, *channels = (row.get(k) or "" for k in ("axes", "low_channel", "high_channel"))
        pairs.append(Pair(low, high, fov, split, mask, axes, channels[0], channels[1]))
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
    if row.get("axes"):
        check_axes(str(row["axes"]))


def is_fmd(folder: Path) -> bool:
    """Say whether a folder is laid out as FMD, or holds such folders."""
    return bool(_fmd_types(folder))


def _fmd_types(folder: Path) -> list[Path]:
    """Return the folders that hold ``gt/``: this one, or those in it."""
    if (folder / "gt").is_dir():
        return [folder]
    return sorted(p for p in folder.iterdir() if (p / "gt").is_dir())


def read_fmd(
    folder: Path,
    levels: Sequence[str] = (),
    captures: int | None = None,
    select: Mapping[str, list[str]] | None = None,
) -> list[Pair]:
    """Pair the captures of the Fluorescence Microscopy Denoising data set with their average.

    Parameters
    ----------
    folder : Path
        A type such as ``Confocal_FISH/``, with ``raw/1/*.png`` and ``gt/1/avg50.png``, or the
        folder of several types.
    levels : sequence of str
        Noise levels out of `FMD_LEVELS`; single captures ("raw") when empty.
    captures : int, optional
        At most this many per field and level, the first by name; all 50 when not given.
    select : mapping, optional
        "type" and "fov" to the names to keep.

    Returns
    -------
    list of Pair
        The three colours of BPAE cells are one field of view: the same cells.

    Raises
    ------
    DataError
        If a folder or an image is missing, or nothing is left.

    References
    ----------
    Zhang et al. (2019), A Poisson-Gaussian Denoising Dataset with Real Fluorescence Microscopy
    Images, CVPR. doi:10.7274/r0-ed2r-4052
    """
    select = select or {}
    for name in set(select) - {"type", "fov"}:
        raise DataError(
            f"--select {name}: FMD has no '{name}'{did_you_mean(name, ('type', 'fov'))}",
            "select type or fov; noise levels are chosen with --noise",
        )
    types = _fmd_types(folder)
    if not types:
        raise DataError(
            f"{folder}: has no folder 'gt', FMD is read from TYPE/raw/1, TYPE/gt/1 and so on",
            "name the folder of a type, or the one above",
        )
    pairs = []
    for kind in types:
        cells = re.sub(r"(BPAE)_[BGR]$", r"\1", kind.resolve().name)
        for field in sorted((p for p in (kind / "gt").iterdir() if p.is_dir()), key=_number):
            if _wanted(select, "type", kind.resolve().name) and _wanted(select, "fov", field.name):
                high = _only_image(field)
                for level in levels or ("raw",):
                    for low in _captures(kind, level, field.name)[:captures]:
                        pairs.append(Pair(low, high, f"{cells}/{field.name}"))
    if not pairs:
        raise DataError(f"{folder}: no field of view is left", "check the folder and --select")
    return pairs


def _wanted(select: Mapping[str, list[str]], name: str, value: str) -> bool:
    return name not in select or value in select[name]


def _number(path: Path) -> tuple[int, str]:
    """Sort 2 before 10, and names after numbers."""
    return (int(path.name) if path.name.isdecimal() else 10**9, path.name)


def _only_image(folder: Path) -> Path:
    images = sorted(filter(is_image, folder.iterdir()))
    if len(images) != 1:
        raise DataError(
            f"{folder}: holds {len(images)} images, expected one average (avg50.png)",
            "copy the folder again",
        )
    return images[0]


def _captures(kind: Path, level: str, field: str) -> list[Path]:
    if level not in FMD_LEVELS:
        raise DataError(
            f"noise level '{level}': is unknown{did_you_mean(level, FMD_LEVELS)}",
            f"known are {', '.join(FMD_LEVELS)}",
        )
    folder = kind / level / field
    images = sorted(filter(is_image, folder.iterdir())) if folder.is_dir() else []
    if not images:
        raise DataError(
            f"{folder}: holds no image, but {kind / 'gt' / field} has the average of its captures",
            f"unpack the noise level '{level}', or choose another with --noise",
        )
    return images
