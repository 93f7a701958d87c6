"""Read and write microscope images, with their axes and pixel size."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..axes import ORDER
from ..errors import DataError
from ..files import write_bytes
from .metadata import RGB, name_axes, tiff_channel_names, tiff_pixel_size
from .ome_zarr import SUFFIX as ZARR
from .ome_zarr import is_zarr, read_ome_zarr

TIFF = {".tif", ".tiff"}
SUFFIXES = TIFF | {".png"}


def is_image(path: Path) -> bool:
    """Say whether `read_image` would try to read this; not a hidden file."""
    known = SUFFIXES | {ZARR}
    return path.suffix.lower() in known and not path.name.startswith(".")


def image_name(path: Path) -> str:
    """Return a file's name without .tif, .ome.tif, .ome.zarr and the like."""
    return path.stem.removesuffix(".ome")


def read_image(path: Path, axes: str = "") -> xr.DataArray:
    """Read a TIFF, PNG or OME-Zarr image.

    Parameters
    ----------
    path : Path
        TIFF (plain, ImageJ, OME), PNG, or a folder in OME-Zarr; 8 or 16 bit or float.
    axes : str
        Axes in stored order, as "tyx", where the file does not say them (pages of a plain
        TIFF); "" for nothing: pages are then planes, z.

    Returns
    -------
    DataArray
        Dimensions: those of "tzcyx" that the file has, in that order; its own dtype.
        ``attrs["pixel_size"]`` is (y, x) in micrometre, ``attrs["channel_names"]`` a tuple of
        str; both are absent when the file has none.

    Raises
    ------
    DataError
        If the file is missing, not an image, cut short, of a kind we do not read, holds
        NaN or infinity, or has other axes than `axes`.
    """
    path = Path(path)
    check_name(path)
    with one_line_errors(path):
        return checked(path, _reader(path)(path, axes))


def check_name(path: Path) -> None:
    """Refuse what cannot be an image, by its name.

    Raises
    ------
    DataError
        If nothing is there, or it is a folder or of another type of file.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist", "check the path")
    if path.is_dir() and not is_zarr(path):
        raise DataError(f"{path}: is a folder, expected an image file", "name one image")
    if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: file type '{path.suffix}' is not read, expected .tif, .tiff or .png",
            "save it as TIFF",
        )


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into a `DataError` of one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: is not a readable image ({reason})", "is the file complete? save it again"
        ) from error


def _reader(path: Path) -> Callable[[Path, str], xr.DataArray]:
    if path.is_dir():
        return read_ome_zarr
    return _read_tiff if path.suffix.lower() in TIFF else _read_png


def checked(path: Path, image: xr.DataArray) -> xr.DataArray:
    """Return the image with its axes in order.

    Raises
    ------
    DataError
        If it has no pixels, or they are no counts; where they are in memory, also if some are
        no numbers.
    """
    if image.size == 0:
        raise DataError(f"{path}: holds no pixels", "save it again")
    if image.dtype.kind not in "uif":
        raise DataError(
            f"{path}: pixel type {image.dtype} is not supported, expected integers or float",
            "convert it to 8 bit, 16 bit or float",
        )
    if image.chunks is None:
        check_finite(path, image.values)
    for dim in [d for d in image.dims if str(d).startswith("_")]:
        image = image.isel({dim: 0})
    present = [axis for axis in ORDER if axis in image.dims]
    return image.transpose(*present)


def check_finite(path: Path, values: np.ndarray) -> None:
    """Refuse pixels that are no numbers.

    Raises
    ------
    DataError
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{path}: {bad} pixels are NaN or infinite, every pixel must be a number",
            "replace them, e.g. by the local median",
        )


def _read_png(path: Path, axes: str) -> xr.DataArray:
    from PIL import Image

    with Image.open(path) as file:
        if file.mode in ("RGB", "RGBA", "LA") and "16" in str(file.tile[0]):
            raise DataError(
                f"{path}: is a PNG with 16 bit per colour, only grey PNG is read with 16 bit",
                "save it as TIFF",
            )
        file.load()
        plain = {"P": "RGB", "RGBA": "RGB", "LA": "L"}.get(file.mode)  # without transparency
        values = np.asarray(file.convert(plain) if plain else file)
    if values.dtype == np.int32:  # Pillow's "I" mode holds 16-bit PNG
        values = values.astype(np.uint16)
    letters = "yx" if values.ndim == 2 else "yxs"
    image = xr.DataArray(values, dims=name_axes(path, letters, values.shape, axes))
    if "c" in image.dims:
        image.attrs["channel_names"] = RGB
    return image


def _read_tiff(path: Path, axes: str) -> xr.DataArray:
    import tifffile

    with complaints() as said, tifffile.TiffFile(path) as file:
        series = single_series(path, file)
        values = series.asarray()
        image = xr.DataArray(values, dims=name_axes(path, series.axes.lower(), series.shape, axes))
        size, names = tiff_pixel_size(file), tiff_names(file, series, image.sizes.get("c", 1))
        if said:
            raise ValueError(said[0])
    if size is not None:
        image.attrs["pixel_size"] = size
    if names:
        image.attrs["channel_names"] = names
    return image


def single_series(path: Path, file: Any) -> Any:
    """Return the image of a TIFF, an open `tifffile.TiffFile`.

    Raises
    ------
    DataError
        If the file holds several; smaller ones are thumbnails and labels.
    """
    series = file.series[0]
    alike = sum(other.shape == series.shape for other in file.series)
    if alike > 1:
        raise DataError(
            f"{path}: holds {alike} images of {' x '.join(map(str, series.shape))}, expected one",
            "save each position or scene as a file of its own",
        )
    return series


def tiff_names(file: Any, series: Any, channels: int) -> tuple[str, ...]:
    """Return the names of the channels of a TIFF; () where it has none."""
    names = tiff_channel_names(file, channels)
    return names or (RGB if "S" in series.axes and channels == 3 else ())


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect what tifffile only logs, such as planes missing from a file that was cut short."""
    found: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR or "missing" in record.getMessage():
            found.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield found
    finally:
        logger.removeFilter(keep)


def write_tiff(path: Path, image: xr.DataArray, dtype: Any = np.float32) -> None:
    """Write a TIFF that ImageJ opens with the right axes and pixel size.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
        Ends in .tif or .tiff; in .ome.tif for OME-TIFF.
    image : DataArray
        Dimensions out of "tzcyx"; ``attrs["pixel_size"]`` (y, x) in micrometre and
        ``attrs["channel_names"]`` if known.
    dtype : numpy dtype
        Of the file. Without .ome only 8 bit, 16 bit and float32 are possible.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    import tifffile

    present = [axis for axis in ORDER if axis in image.dims]
    image = image.transpose(*present)
    size = image.attrs.get("pixel_size")
    names = image.attrs.get("channel_names", ())
    named = "c" in present and len(names) == image.sizes["c"]
    metadata: dict[str, Any] = {"axes": "".join(present).upper()}
    options: dict[str, Any] = {}
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        options["ome"] = True
        if named:
            metadata["Channel"] = {"Name": list(names)}
        if size:
            metadata |= {"PhysicalSizeY": size[0], "PhysicalSizeX": size[1]}
            metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    else:
        options["imagej"] = True
        if named:  # one label per plane, channels first
            planes = math.prod(image.sizes[a] for a in present if a in "tz")
            metadata["Labels"] = list(names) * planes
        if size:
            metadata["unit"] = "micron"
            options["resolution"] = (1 / size[1], 1 / size[0])
            options["resolutionunit"] = 1
    # in memory first: where the disk fills up, tifffile can leave a cut file without any error
    encoded = BytesIO()
    tifffile.imwrite(encoded, np.asarray(image.values, dtype), metadata=metadata, **options)
    write_bytes(path, encoded.getbuffer())
