"""Write what is kept of a pair, and the tables about all pairs."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from ..data.images import image_name, read_image, write_tiff
from ..data.planes import read_pair
from ..errors import DataError
from ..files import write_bytes
from .cut import corners
from .examine import Finding
from .register import Movement, move, moved_mask
from .settings import PrepareSettings

COLUMNS = (
    "low", "high", "mask", "fov", "split", "shift_y", "shift_x", "rotation",
    "similarity_before", "similarity_after", "valid", "plane", "y", "x", "source_low",
    "source_high",
)  # fmt: skip
#: Types of pixels that ImageJ's TIFF holds; OME-TIFF takes the others.
IMAGEJ = ("uint8", "uint16", "int16", "float32")

Row = Mapping[str, object]


def refuse_used(out: Path) -> None:
    """Refuse a folder that holds something, and a file.

    Raises
    ------
    DataError
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        what = "holds files already" if out.is_dir() else "is a file"
        raise DataError(
            f"{out}: {what}, prepared pairs need a folder of their own",
            "choose another --out, or move this one away",
        )


@contextmanager
def folder_when_done(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside `out`, which takes its name when all went well.

    Raises
    ------
    DataError
        If `out` is used already, or cannot be written to.
    """
    refuse_used(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror})", "choose another place for --out"
        ) from error
    try:
        yield part
        mask = os.umask(0)  # the only way to read it
        os.umask(mask)
        part.chmod(0o777 & ~mask)  # mkdtemp lets nobody else in
        refuse_used(out)  # filled in the meantime?
        if out.exists():
            out.rmdir()  # Windows renames onto nothing that exists
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a CSV file; numbers with four decimals."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
    write_bytes(path, text.getvalue().encode())


def unique_name(finding: Finding, taken: set[str]) -> str:
    """Return a file name that says which field and image a pair is, and no other pair has."""
    fov, stem = finding.pair.fov, image_name(finding.pair.low)
    full = stem if stem.startswith(fov) else f"{fov}_{stem}"
    plain = re.sub(r"[^\w.+-]+", "-", full)
    names = itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(2)))
    name = next(n for n in names if n.lower() not in taken)  # Windows and macOS ignore case
    taken.add(name.lower())
    return name


def write_pair(
    folder: Path, name: str, finding: Finding, settings: PrepareSettings
) -> tuple[list[Row], int]:
    """Write the images of one pair, whole or as patches.

    The noisy pixels are those of the source, bit by bit. The clean image keeps its type: moved
    values are rounded for integers, and cut off where the type ends; where there is no data it
    is 0, and the mask too. No mask is written where all pixels are valid.

    Returns
    -------
    rows : list of mapping
        For pairs.csv, with paths that start from `folder`.
    left_out : int
        Patches with too little valid data.
    """
    pair = finding.pair
    read = zip((pair.low, pair.high), read_pair(pair), strict=True)
    low, high = (_storable(path, image) for path, image in read)
    size = low.attrs.get("pixel_size") or high.attrs.get("pixel_size")
    given = read_image(pair.mask) if pair.mask else None
    valid = _moved_valid(low, given, finding.movement)
    high = moved_image(high, finding.movement)
    rows: list[Row] = []
    left_out = 0
    for number, (plane, chosen) in enumerate(_planes(low, settings)):
        for y, x in corners(valid.shape, settings.patch, settings.overlap):
            side = settings.patch or max(valid.shape)
            window = {"y": slice(y, y + side), "x": slice(x, x + side)}
            here = valid[window["y"], window["x"]]
            if settings.patch and here.mean() < max(settings.min_valid, 1e-9):
                left_out += 1
                continue
            stem = name + plane + (f"_y{y:04}_x{x:04}" if settings.patch else "")
            piece = low.isel(chosen | window)
            paths = {"low": _write(folder / "low", stem, piece, size)}
            partner = _plane(high, number) if settings.patch else high
            paths["high"] = _write(folder / "high", stem, partner.isel(window), size)
            if not here.all():
                paths["mask"] = _write(folder / "mask", stem, _as_image(here, piece), size)
            rows.append(
                _row(finding, {k: p.relative_to(folder).as_posix() for k, p in paths.items()})
                | {"valid": float(here.mean()), "plane": plane[1:], "y": y, "x": x}
            )
    return rows, left_out


def _row(finding: Finding, paths: dict[str, str]) -> dict[str, object]:
    pair = finding.pair
    return {
        "mask": "",
        **paths,
        "fov": pair.fov,
        "split": pair.split,
        **numbers(finding),
        "source_low": str(pair.low),
        "source_high": str(pair.high),
    }


def numbers(finding: Finding) -> dict[str, float]:
    """Return the measured values of a pair, by column."""
    return {
        "shift_y": finding.movement.shift_y,
        "shift_x": finding.movement.shift_x,
        "rotation": finding.movement.rotation,
        "similarity_before": finding.before,
        "similarity_after": finding.after,
    }


def _storable(place: Path, image: xr.DataArray) -> xr.DataArray:
    """Return an image of a type that TIFF holds; half precision is exact in single precision."""
    if image.dtype.kind in "ui" and image.dtype.itemsize == 8:
        raise DataError(
            f"{place}: pixel type {image.dtype} is not written", "convert it to 16 or 32 bit"
        )
    return image.astype(np.float32, keep_attrs=True) if image.dtype == np.float16 else image


def _moved_valid(low: xr.DataArray, given: xr.DataArray | None, movement: Movement) -> np.ndarray:
    """Say where all planes hold clean data after the movement: (Y, X) bool."""
    if given is None:
        valid = np.ones((low.sizes["y"], low.sizes["x"]), bool)
    else:
        valid = (given > 0).all([d for d in given.dims if d not in ("y", "x")]).values
    return moved_mask(valid, movement)


def moved_image(image: xr.DataArray, movement: Movement) -> xr.DataArray:
    """Move all planes and channels of a clean image; its own type."""
    if movement == Movement():
        return image
    values = image.values.reshape(-1, *image.shape[-2:])
    moved = np.stack([move(plane, movement) for plane in values]).reshape(image.shape)
    if image.dtype.kind in "ui":
        kind = np.iinfo(image.dtype)
        moved = np.clip(np.rint(moved), kind.min, kind.max)
    return image.copy(data=moved.astype(image.dtype))


def _planes(low: xr.DataArray, settings: PrepareSettings) -> Iterator[tuple[str, dict]]:
    """List the planes that become files: one by one as patches, else all in one file."""
    dims = [d for d in low.dims if d in ("t", "z") and low.sizes[d] > 1] if settings.patch else []
    for index in itertools.product(*(range(low.sizes[d]) for d in dims)):
        chosen = dict(zip(dims, index, strict=True))
        yield "".join(f"_{d}{i:03}" for d, i in chosen.items()), chosen


def _plane(image: xr.DataArray, number: int) -> xr.DataArray:
    """Return one plane, counted through t and z, whichever of them the image has."""
    rest = [d for d in image.dims if d not in ("t", "z")]
    shape = [image.sizes[d] for d in rest]
    return xr.DataArray(image.values.reshape(-1, *shape)[number], dims=rest, attrs=image.attrs)


def _as_image(valid: np.ndarray, low: xr.DataArray) -> xr.DataArray:
    """Return a mask for all planes of `low`: 0 or 255."""
    plane = xr.DataArray(np.where(valid, 255, 0).astype(np.uint8), dims=("y", "x"))
    dims = {d: n for d, n in low.sizes.items() if d in ("t", "z")}
    return plane.expand_dims(dims).transpose(*dims, "y", "x")


def _write(folder: Path, stem: str, image: xr.DataArray, size: object) -> Path:
    if size and "pixel_size" not in image.attrs:
        image = image.assign_attrs(pixel_size=size)
    path = folder / (stem + (".tif" if image.dtype in IMAGEJ else ".ome.tif"))
    write_tiff(path, image, image.dtype)
    return path
