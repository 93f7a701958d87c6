"""Find the pairs of a data set: which noisy image belongs to which clean one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import DataError
from .datasets import DataSet
from .layouts import is_fmd, read_csv, read_fmd, read_folder
from .metadata import check_axes
from .pair import SPLITS, Pair
from .splits import WORDS, refuse_leaks, split_by_file, split_one_in_ten

__all__ = ["SPLITS", "Pair", "find_pairs"]

Layout = Literal["auto", "pairs", "csv", "fmd"]


def find_pairs(
    source: Path,
    root: Path | None = None,
    select: Mapping[str, list[str]] | None = None,
    *,
    layout: Layout = "auto",
    dataset: DataSet | None = None,
    split_file: Path | None = None,
    noise: Sequence[str] = (),
    captures: int | None = None,
    axes: str = "",
    low_channel: str = "",
    high_channel: str = "",
    splits: Collection[str] = ("train", "val"),
) -> list[Pair]:
    """List the pairs of a folder or CSV file.

    Parameters
    ----------
    source : Path
        A folder with ``low/`` and ``high/`` (same file names), a folder laid out as FMD, or a
        CSV file with columns low, high and optionally mask, fov, split, axes, low_channel and
        high_channel.
    root : Path, optional
        Folder that the paths in the CSV start from; the CSV's own folder when not given.
    select : mapping, optional
        Column name to the values to keep (CSV; "type" and "fov" for FMD).
    layout : str
        What `source` is; "auto" finds out.
    dataset : DataSet, optional
        Layout, axes, pixel size and split of a data set of the paper. With a CSV file the
        layout is the file's, and so is the split where it has one.
    split_file : Path, optional
        CSV file with the columns fov and split; goes before every other split.
    noise : sequence of str
        Noise levels of FMD, out of raw, avg2, avg4, avg8, avg16; raw when empty.
    captures : int, optional
        At most this many captures per field of view (FMD).
    axes, low_channel, high_channel : str
        As in `Pair`, for all pairs.
    splits : collection of str
        Which of "train", "val" and "test" to return; with all three one field is enough.

    Returns
    -------
    list of Pair
        Every pair has its split decided: where nothing names one, one field of view in ten,
        at least one, is kept for validation.

    Raises
    ------
    DataError
        If there is nothing to read, a partner is missing, or a field is in two splits.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: does not exist", "name a folder with low/ and high/, or a CSV")
    if axes:
        check_axes(axes)
    if dataset is not None:
        layout = dataset.layout if source.is_dir() else "csv"
        axes = axes or dataset.axes
        if layout == "fmd":
            noise = noise or dataset.noise
            if not (source / "gt").is_dir():
                select = {"type": [dataset.type], **(select or {})}
    pairs = _read(source, root, select or {}, layout, noise, captures)
    given = {"axes": axes, "low_channel": low_channel, "high_channel": high_channel}
    changed = {name: value for name, value in given.items() if value}
    size = dataset.pixel_size if dataset else None
    pairs = [replace(p, **changed, pixel_size=size) for p in pairs]  # type: ignore[arg-type]
    if split_file is not None:
        pairs = split_by_file(pairs, split_file)
    elif dataset is not None and not any(p.split for p in pairs):
        pairs = dataset.divide(source, pairs)
    elif not all(p.split for p in pairs) and not _may_stay(pairs, splits):
        undecided = [p for p in pairs if not p.split]
        decided = dict(zip(undecided, split_one_in_ten(source, undecided), strict=True))
        pairs = [decided.get(p, p) for p in pairs]
    refuse_leaks(source, pairs)
    return pairs if set(SPLITS) <= set(splits) else _kept(source, pairs, splits)


def _may_stay(pairs: list[Pair], splits: Collection[str]) -> bool:
    """Whether nobody asks which of the undecided pairs are for training, which for validation."""
    whole = set(SPLITS) <= set(splits)
    fields = {pair.fov for pair in pairs if not pair.split}
    return set(splits) == {"test"} or (whole and len(fields) < 2)


def _read(
    source: Path,
    root: Path | None,
    select: Mapping[str, list[str]],
    layout: Layout,
    noise: Sequence[str],
    captures: int | None,
) -> list[Pair]:
    if layout == "auto":
        if not source.is_dir():
            layout = "csv"
        else:
            layout = "fmd" if not (source / "low").is_dir() and is_fmd(source) else "pairs"
    if source.is_dir() == (layout == "csv"):
        raise DataError(
            f"{source}: is {'a folder' if source.is_dir() else 'a file'}, the layout '{layout}' is "
            f"read from a {'CSV file' if layout == 'csv' else 'folder'}",
            "correct --layout or --dataset, or name what it says",
        )
    if layout != "fmd" and (noise or captures):
        raise DataError(
            f"{source}: is not laid out as FMD, --noise and --captures need that", "leave them out"
        )
    if layout == "fmd":
        return read_fmd(source, noise, captures, select)
    if layout == "csv":
        return read_csv(source, source.parent if root is None else Path(root), select)
    if select:
        raise DataError(f"{source}: is a folder, --select needs a CSV file", "leave it out")
    return read_folder(source)


def _kept(source: Path, pairs: list[Pair], splits: Collection[str]) -> list[Pair]:
    kept = [p for p in pairs if p.split in splits]
    if not kept and "train" in splits:
        raise DataError(f"{source}: no row is left to train on", "check the file and --select")
    if "train" in splits and not any(p.split == "train" for p in kept):
        raise DataError(f"{source}: every row is for validation", "mark some rows as train")
    if not kept:
        words = " or ".join(WORDS[s] for s in SPLITS if s in splits)
        raise DataError(
            f"{source}: no image is for {words}",
            "decide which fields of view are, in a column 'split' or with --split-file",
        )
    return kept
