"""Open an image without reading its pixels: blocks are read when they are asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import DataError
from .images import (
    TIFF,
    check_name,
    checked,
    complaints,
    one_line_errors,
    read_image,
    single_series,
    tiff_names,
)
from .metadata import name_axes, tiff_pixel_size
from .ome_xml import steps_of
from .ome_zarr import open_ome_zarr

#: Stored chunks are joined until a side has at least this many pixels: fewer, larger reads.
SIDE = 512


def open_image(path: Path, axes: str = "") -> xr.DataArray:
    """Open a TIFF, PNG or OME-Zarr image lazily.

    Parameters
    ----------
    path, axes
        As for `images.read_image`.

    Returns
    -------
    DataArray
        On a Dask array, with the dimensions and attributes of `images.read_image`, and besides,
        where the file says them: ``attrs["steps"]``, {"z": micrometre, "t": seconds};
        ``attrs["ome_xml"]``, str; ``attrs["imagej"]``, dict; ``attrs["zarr"]``, the attributes
        of the Zarr group. The coordinate "c" numbers the channels as the file stores them.

    Raises
    ------
    DataError
        As `images.read_image` does, but for pixels that are no numbers: they are not read yet.
    """
    import dask.array

    path = Path(path)
    check_name(path)
    with one_line_errors(path):
        if path.is_dir():
            stored, dims, attrs = open_ome_zarr(path, axes)
        elif path.suffix.lower() in TIFF:
            stored, dims, attrs = open_tiff(path, axes)
        else:
            image = read_image(path, axes)
            stored, dims, attrs = image.values, tuple(map(str, image.dims)), dict(image.attrs)
        if 0 in stored.shape:
            raise DataError(f"{path}: holds no pixels", "save it again")
        chunks = _joined(stored, dims)
        lazy = dask.array.from_array(stored, chunks=chunks, inline_array=True, name=False)
        image = checked(path, xr.DataArray(lazy, dims=dims, attrs=attrs))
    return image.assign_coords(c=np.arange(image.sizes["c"])) if "c" in image.dims else image


def read_block(path: Path, image: xr.DataArray, **where: Any) -> np.ndarray:
    """Read a part of a lazy image; indices and slices by the names of axes.

    Raises
    ------
    DataError
        If that part of the file is damaged or missing, or holds pixels that are no numbers.
    """
    with one_line_errors(path):
        values = image.isel(where).data.compute(scheduler="single-threaded")
    return np.asarray(values)


def largest_read(image: xr.DataArray) -> int:
    """Return the bytes of the largest piece that the file can only read as a whole."""
    pieces = [max(c) for c in image.chunks or ()]
    return int(np.prod(pieces, dtype=np.int64)) * image.dtype.itemsize


class MappedPixels:
    """Uncompressed pixels of a file, mapped anew for every read: what was read is not kept.

    Parameters
    ----------
    path : Path
    offset : int
        Where they begin, in bytes.
    dtype : numpy dtype
        With the byte order of the file.
    shape : tuple of int
    """

    def __init__(self, path: Path, offset: int, dtype: Any, shape: tuple[int, ...]) -> None:
        self.path, self.offset, self.stored = path, offset, np.dtype(dtype)
        self.dtype, self.shape, self.ndim = self.stored.newbyteorder("="), shape, len(shape)

    def __getitem__(self, where: Any) -> np.ndarray:
        """Read a part."""
        mapped = np.memmap(self.path, self.stored, "r", self.offset, self.shape)
        return np.array(mapped[where], self.dtype)


def open_tiff(path: Path, axes: str = "") -> tuple[Any, tuple[str, ...], dict[str, Any]]:
    """Open the image of a TIFF at its full resolution; read no pixels.

    Returns
    -------
    array
        With shape, dtype and slices, as NumPy's.
    dims : tuple of str
    attrs : dict
        See `open_image`.

    Raises
    ------
    DataError
        If it is cut short, or is not one image.
    """
    import tifffile
    import zarr

    with complaints() as problems:
        file = tifffile.TiffFile(path)  # stays open as long as the array lives
        series = single_series(path, file)
        dims = name_axes(path, series.axes.lower(), series.shape, axes)
        refuse_cut(path, series)
    if problems:
        raise ValueError(problems[0])
    attrs: dict[str, Any] = {}
    channels = series.shape[dims.index("c")] if "c" in dims else 1
    size, names = tiff_pixel_size(file), tiff_names(file, series, channels)
    attrs |= {"pixel_size": size} if size else {}
    attrs |= {"channel_names": names} if names else {}
    if file.ome_metadata:
        attrs |= {"ome_xml": file.ome_metadata, "steps": steps_of(file.ome_metadata)}
    elif file.imagej_metadata:
        said = file.imagej_metadata
        attrs |= {"imagej": said, "steps": _imagej_steps(said)}
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        array: Any = MappedPixels(path, series.dataoffset, dtype, series.shape)
        file.close()
    else:
        array = zarr.open_array(series.aszarr(level=0), mode="r")
    return array, dims, attrs


def refuse_cut(path: Path, series: Any) -> None:
    """Refuse a TIFF that ends before its pixels do.

    Raises
    ------
    DataError
    """
    ends = []
    if series.dataoffset is not None:
        ends.append((series.dataoffset + series.nbytes, series.keyframe.parent.filehandle.size))
    else:
        for number, page in enumerate(series.pages):
            if page is None:
                raise DataError(
                    f"{path}: is not a readable image (plane {number + 1} is missing)",
                    "is the file complete? save it again",
                )
            spans = zip(page.dataoffsets, page.databytecounts, strict=False)
            end = max((offset + count for offset, count in spans), default=0)
            ends.append((end, page.parent.filehandle.size))
    for end, size in ends:
        if end > size:
            raise DataError(
                f"{path}: is not a readable image (its pixels need {end} bytes, the file has "
                f"{size})",
                "is the file complete? save it again",
            )


def _imagej_steps(said: dict[str, Any]) -> dict[str, float]:
    steps = {"z": said.get("spacing"), "t": said.get("finterval")}
    if not re.fullmatch(r"micron|um|µm|\\u00B5m", str(said.get("unit", "")), re.IGNORECASE):
        del steps["z"]
    return {a: float(step) for a, step in steps.items() if step and float(step) > 0}


def _joined(stored: Any, dims: tuple[str, ...]) -> tuple[int, ...]:
    """Return the sizes of the pieces that are read at once."""
    chunks = getattr(stored, "chunks", None) or tuple(
        min(n, SIDE) if a in "yx" else 1 for a, n in zip(dims, stored.shape, strict=True)
    )
    return tuple(
        min(n, -(-SIDE // c) * c) if a in "yx" else c
        for a, c, n in zip(dims, chunks, stored.shape, strict=True)
    )
