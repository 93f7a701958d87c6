"""From finished blocks to files under their final names, and the record beside them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..data.images import image_name
from ..data.ome_zarr import is_zarr
from ..data.ome_zarr_write import add_levels, create_level, write_metadata
from ..data.tiff_write import CLASSIC, write_imagej, write_ome_tiff
from ..errors import ConfigError, DataError
from ..files import write_bytes
from ..package.load import Model
from .blocks import stage_of
from .plan import Format, Job

#: ImageJ's TIFF is written plane by plane; larger planes go to OME-TIFF.
LARGEST_PLANE = 2**28
ENDINGS = {"tif": ".tif", "ome-tif": ".ome.tif"}
IMAGEJ = ("uint8", "uint16", "float32")


def choose_format(
    path: Path, image: xr.DataArray, wanted: Format, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> str:
    """Return "tif", "ome-tif", "ome-zarr-0.4" or "ome-zarr-0.5".

    Parameters
    ----------
    path : Path
        Of the input.
    image : DataArray
    wanted : str
        "auto" keeps the kind of the input; plain files become OME-TIFF where ImageJ's TIFF
        cannot hold the result.
    shape, dtype
        Of the result.

    Raises
    ------
    ConfigError
        If "tif" is wanted, and cannot hold the result.
    """
    old = "ome-zarr-0.4" if image.attrs.get("zarr_format") == 2 else "ome-zarr-0.5"
    if wanted == "ome-zarr" or (wanted == "auto" and is_zarr(path)):
        return old
    if wanted not in ("auto", "tif"):
        return wanted
    size = math.prod(shape) * dtype.itemsize
    reason = ""
    if size > CLASSIC:
        reason = f"the result has {size / 1e9:.1f} GB, this format ends at 4 GB"
    elif dtype.name not in IMAGEJ:
        reason = f"the result is {dtype}, this format takes {', '.join(IMAGEJ)}"
    if wanted == "tif":
        if reason:
            raise ConfigError(f"--format tif: {reason}", "use --format ome-tif")
        return "tif"
    large = shape[-1] * shape[-2] * dtype.itemsize > LARGEST_PLANE
    return "ome-tif" if reason or large or "ome_xml" in image.attrs else "tif"


def target_of(out: Path, image: Path, output: str, kind: str) -> Path:
    """Return the final name of a result."""
    return out / f"{image_name(image)}_{output}{ENDINGS.get(kind, '.ome.zarr')}"


def create_stage(job: Job, shape: tuple[int, ...], types: dict[str, Any], kind: str) -> None:
    """Make the arrays in which the results grow, where they are not there yet.

    Raises
    ------
    DataError
        If the disk is full.
    """
    import zarr

    for name in job.outputs:
        folder, made = stage_of(job.stage, name), job.stage / f"{name}.made"
        if not made.exists():
            try:
                zarr_format: Any = 2 if kind == "ome-zarr-0.4" else 3
                group = zarr.open_group(folder, mode="w", zarr_format=zarr_format)
                create_level(group, 0, job.dims, shape, job.grid.side, types[name])
                made.touch()  # complete: not cut while it was made
            except OSError as error:
                raise DataError(
                    f"{folder}: could not be written ({error.strerror})",
                    "free some space, then repeat",
                ) from error


def finish_output(
    job: Job, output: str, target: Path, kind: str, image: xr.DataArray, model: Model, pyramid: bool
) -> None:
    """Turn the finished blocks of one output into its file.

    Raises
    ------
    DataError
        If the disk is full; what is finished stays.
    """
    import zarr

    folder = stage_of(job.stage, output)
    if not folder.exists():  # it got its name before the run was interrupted
        return
    names = tuple(image.attrs.get("channel_names", ()))
    channels = tuple(int(i) for i in image["c"].values) if "c" in image.dims else (0,)
    try:
        group: Any = zarr.open_group(folder, mode="r+")
        count = group["0"].shape[job.dims.index("c")] if "c" in job.dims else 1
        stand_for = channels if len(channels) == count else None
        if kind == "tif":
            shown = names if "c" in job.dims and len(names) == count else ()
            write_imagej(target, group["0"], job.dims, image.attrs, shown)
            return
        levels = add_levels(group, job.dims, job.grid.side) if pyramid else 1
        for left in folder.rglob(
            "*.partial"
        ):  # of a chunk that zarr was writing when it was killed
            left.unlink()
        if kind == "ome-tif":
            arrays = [group[str(i)] for i in range(levels)]
            write_ome_tiff(target, arrays, job.dims, image.attrs, target.name, stand_for)
            return
        window = _window(output, model)
        version = kind.rpartition("-")[2]
        write_metadata(folder, job.dims, image.attrs, target.name, version, stand_for, window)
        for cut in folder.rglob("*.partial"):  # of a chunk that was being written at a kill
            cut.unlink()
        _exchange(folder, target, job.stage / f"old-{output}")
    except OSError as error:
        raise DataError(
            f"{target}: could not be written ({error.strerror})",
            "free some space, then repeat: finished blocks are kept",
        ) from error


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Give a folder its final name; one that had it goes into the journal's folder."""
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)


def _window(output: str, model: Model) -> tuple[float, float]:
    low, high = model.grey_levels or (0.0, 255.0)
    if output == "std":
        return 0.0, (high - low) / 8
    if output == "entropy":
        return 0.0, math.log(max(model.num_samples or 16, 2))
    return low, high


def write_record(path: Path, job: dict[str, Any], outputs: list[Path], **measured: Any) -> None:
    """Write down what was run, and with which settings, beside the results.

    Raises
    ------
    DataError
        If the disk is full.
    """
    record = {"job": job, "outputs": [p.name for p in outputs], **measured}
    write_bytes(path, json.dumps(record, indent=1).encode())
