"""Read OME-Zarr images: the full resolution, with axes, pixel size and names of channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import DataError
from .metadata import SECONDS, UNITS, known_names, name_axes

SUFFIX = ".zarr"
#: Where bioformats2raw, and we, keep the OME-XML of the image that was converted.
OME_XML = "OME/METADATA.ome.xml"


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
        As `open_ome_zarr` does.
    """
    array, dims, attrs = open_ome_zarr(path, axes)
    kept = {name: attrs[name] for name in ("pixel_size", "channel_names") if name in attrs}
    return xr.DataArray(np.asarray(array[...]), dims=dims, attrs=kept)


def open_ome_zarr(path: Path, axes: str = "") -> tuple[Any, tuple[str, ...], dict[str, Any]]:
    """Open the first level of an OME-Zarr image, version 0.4 or 0.5; read no pixels.

    Parameters
    ----------
    path, axes
        As for `read_ome_zarr`.

    Returns
    -------
    array : zarr.Array
    dims : tuple of str
    attrs : dict
        What `lazy.open_image` promises, as far as the image says it.

    Raises
    ------
    DataError
        If it is no OME-Zarr image, or holds none of its pixels.

    References
    ----------
    https://ngff.openmicroscopy.org/0.4/ and /0.5/, "multiscales" and "omero" metadata.
    """
    import zarr

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
        if not {"y", "x"} <= set(letters):
            raise ValueError(f"its axes are '{letters}', without y and x")
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
    array: Any = group[place]
    _check_array(path, array, letters)
    dims = name_axes(path, letters, array.shape, axes)
    attrs: dict[str, Any] = {"zarr": attributes, "zarr_format": group.metadata.zarr_format}
    known = {
        a: float(length) * UNITS.get(unit, SECONDS.get(unit, 0.0))  # 0: without a unit nothing
        for a, length, unit in zip(letters, scale, units, strict=True)
    }
    known = {a: length for a, length in known.items() if 0 < length < math.inf}
    if {"y", "x"} <= known.keys():
        attrs["pixel_size"] = (known["y"], known["x"])
    attrs["steps"] = {a: known[a] for a in "tz" if a in known}
    names = known_names(labels, array.shape[dims.index("c")] if "c" in dims else 1)
    if names:
        attrs["channel_names"] = names
    xml = path / OME_XML
    if xml.is_file():
        attrs["ome_xml"] = xml.read_text(encoding="utf-8")
    return array, dims, attrs


def empty_chunks(array: Any) -> int:
    """Return how many chunks are not there, and count as empty."""
    return int(array.nchunks - array.nchunks_initialized)


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


def _check_array(path: Path, array: Any, letters: str) -> None:
    if array.ndim != len(letters):
        raise DataError(
            f"{path}: its array has {array.ndim} dimensions but its metadata names "
            f"{len(letters)} axes ('{letters}')",
            "save it again as OME-Zarr 0.4 or 0.5",
        )
    if array.size and array.nchunks_initialized == 0:
        raise DataError(
            f"{path}: none of the {array.nchunks} chunks with its pixels is there",
            "is the folder complete? copy it again",
        )
