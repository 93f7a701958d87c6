"""Read OME-Zarr images: the full resolution, with axes, pixel size and names of channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import DataError, MissingDependency
from .metadata import UNITS, known_names, name_axes

SUFFIX = ".zarr"


def is_zarr(path: Path) -> bool:
    """Say whether `path` is a folder that ends in .zarr, or lies in one."""
    return path.is_dir() and any(p.suffix.lower() == SUFFIX for p in (path, *path.parents))


def read_ome_zarr(path: Path, axes: str = "") -> xr.DataArray:
    """Read the first level of an OME-Zarr image, version 0.4 or 0.5.

    A chunk that is not there counts as empty, as Zarr prescribes.

    Parameters
    ----------
    path : Path
        Folder with an image's metadata.
    axes : str
        What the user says about the axes; must agree with the metadata.

    Returns
    -------
    DataArray
        As `images.read_image` returns it, in the stored order of axes.

    Raises
    ------
    DataError
        If it is no OME-Zarr image, or holds none of its pixels.
    MissingDependency
        If zarr is not installed.

    References
    ----------
    https://ngff.openmicroscopy.org/0.4/ and /0.5/, "multiscales" and "omero" metadata.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingDependency("zarr", "zarr", f"reading {path}") from error
    try:
        group = zarr.open_group(path, mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise DataError(
            f"{path}: is no Zarr group (.zgroup or zarr.json is missing or damaged)",
            "is the folder complete? copy it again",
        ) from error
    attributes: Any = group.attrs.asdict()
    metadata = attributes.get("ome", attributes)  # 0.5, or 0.4
    try:
        levels = _multiscales(path, metadata)
        full = levels["datasets"][0]
        place, letters = full["path"], _letters(levels["axes"])
        scale = _scale(levels, full, len(letters))
        letters.index("y"), letters.index("x")  # an image has both
        units = [a.get("unit", "") for a in levels["axes"]]
        labels = [c.get("label", "") for c in metadata.get("omero", {}).get("channels", [])]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path}: its OME-Zarr metadata is incomplete ({type(error).__name__}: {error}), "
            "version 0.4 or 0.5 is read",
            "save it again as OME-Zarr 0.4 or 0.5",
        ) from error
    if place not in group:
        raise DataError(
            f"{path}: has no array '{place}', which its metadata names",
            "is the folder complete? copy it again",
        )
    values = _pixels(path, group[place], letters)
    image = xr.DataArray(values, dims=name_axes(path, letters, values.shape, axes))
    micrometre = {
        a: length * UNITS.get(unit, 0.0)  # 0: without a unit nothing is known
        for a, length, unit in zip(letters, scale, units, strict=True)
    }
    size = (micrometre["y"], micrometre["x"])
    if all(0 < length < math.inf for length in size):
        image.attrs["pixel_size"] = size
    names = known_names(labels, image.sizes.get("c", 1))
    if names:
        image.attrs["channel_names"] = names
    return image


def _multiscales(path: Path, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the image."""
    if "multiscales" in metadata:
        return metadata["multiscales"][0]
    if "plate" in metadata or "well" in metadata or "bioformats2raw.layout" in metadata:
        raise DataError(
            f"{path}: holds several images (a plate or a series), expected one",
            f"name one of them, e.g. {path / '0'}",
        )
    raise DataError(
        f"{path}: has no 'multiscales' metadata, which an OME-Zarr image needs",
        "is .zattrs or zarr.json missing? copy the folder again, or save it as OME-Zarr 0.4 or 0.5",
    )


def _letters(axes: list[Mapping[str, str]]) -> str:
    known = {"channel": "c", "time": "t"}
    return "".join(known.get(a.get("type", ""), a["name"].lower()[:1]) for a in axes)


def _scale(levels: Mapping[str, Any], level: Mapping[str, Any], count: int) -> np.ndarray:
    """Multiply the scale of the level with that of the whole image."""
    scale = np.ones(count)
    for owner in (level, levels):
        for step in owner.get("coordinateTransformations", []):
            if step["type"] == "scale":
                scale = scale * np.asarray(step["scale"], float)
    return scale


def _pixels(path: Path, array: Any, letters: str) -> np.ndarray:
    if array.ndim != len(letters):
        raise DataError(
            f"{path}: its array has {array.ndim} dimensions but its metadata names "
            f"{len(letters)} axes ('{letters}')",
            "save it again as OME-Zarr 0.4 or 0.5",
        )
    if array.nchunks_initialized == 0:
        raise DataError(
            f"{path}: none of the {array.nchunks} chunks with its pixels is there",
            "is the folder complete? copy it again",
        )
    return np.asarray(array[...])
