"""Read and write microscope images, with their axes and pixel size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..axes import ORDER
from ..errors import DataError
from ..files import write_bytes

TIFF = {".tif", ".tiff"}
SUFFIXES = TIFF | {".png"}
#: Micrometres per unit, by the names that TIFF writers use.
UNITS = {"micron": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0}
UNITS |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4}


def read_image(path: Path) -> xr.DataArray:
    """Read a TIFF or PNG image.

    Parameters
    ----------
    path : Path
        TIFF (plain, ImageJ, OME) or PNG; 8 or 16 bit or float.

    Returns
    -------
    DataArray
        Dimensions: those of "tzcyx" that the file has, in that order; its own dtype.
        ``attrs["pixel_size"]`` is (y, x) in micrometre, or absent when the file has none.

    Raises
    ------
    DataError
        If the file is missing, not an image, cut short, of a kind we do not read, or holds
        NaN or infinity.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist", "check the path")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected an image file", "name one image")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: file type '{path.suffix}' is not read, expected .tif, .tiff or .png",
            "save it as TIFF",
        )
    try:
        image = _read_tiff(path) if path.suffix.lower() in TIFF else _read_png(path)
    except DataError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: is not a readable image ({reason})", "is the file complete? save it again"
        ) from error
    return _checked(path, image)


def _checked(path: Path, image: xr.DataArray) -> xr.DataArray:
    if image.size == 0:
        raise DataError(f"{path}: holds no pixels", "save it again")
    if image.dtype.kind not in "uif":
        raise DataError(
            f"{path}: pixel type {image.dtype} is not supported, expected integers or float",
            "convert it to 8 bit, 16 bit or float",
        )
    if image.dtype.kind == "f" and not np.isfinite(image.values).all():
        bad = int((~np.isfinite(image.values)).sum())
        raise DataError(
            f"{path}: {bad} pixels are NaN or infinite, every pixel must be a number",
            "replace them, e.g. by the local median",
        )
    present = [axis for axis in ORDER if axis in image.dims]
    return image.transpose(*present)


def _read_png(path: Path) -> xr.DataArray:
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
    return xr.DataArray(values, dims=("y", "x") if values.ndim == 2 else ("y", "x", "c"))


def _read_tiff(path: Path) -> xr.DataArray:
    import tifffile

    with _complaints() as complaints, tifffile.TiffFile(path) as file:
        series = file.series[0]
        alike = sum(other.shape == series.shape for other in file.series)
        if alike > 1:  # smaller ones are thumbnails and labels
            raise DataError(
                f"{path}: holds {alike} images of {' x '.join(map(str, series.shape))}, "
                "expected one",
                "save each position or scene as a file of its own",
            )
        values = series.asarray()
        dims = _dims(path, series.axes.lower(), values.shape)
        size = _pixel_size(file)
        if complaints:
            raise ValueError(complaints[0])
    image = xr.DataArray(values, dims=dims)
    for dim in [d for d in dims if d.startswith("_")]:
        image = image.isel({dim: 0})
    if size is not None:
        image.attrs["pixel_size"] = size
    return image


@contextmanager
def _complaints() -> Iterator[list[str]]:
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


def _dims(path: Path, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Map tifffile's axis letters to ours; length-one unknown axes are dropped later."""
    dims = []
    for i, (letter, length) in enumerate(zip(axes, shape, strict=True)):
        name = {"s": "c", "i": "z", "q": "z"}.get(letter, letter)
        if name in ORDER and name not in dims:
            dims.append(name)
        elif length == 1:
            dims.append(f"_{i}")
        else:
            raise DataError(
                f"{path}: axis '{letter}' of length {length} is not one of t, z, c, y, x",
                "save it as an ImageJ or OME TIFF",
            )
    return tuple(dims)


def _pixel_size(file: Any) -> tuple[float, float] | None:
    """Return (y, x) in micrometre from OME-XML, or from ImageJ or plain resolution tags."""
    size = _ome_size(file.ome_metadata) if file.ome_metadata else _tag_size(file)
    return size if size and min(size) > 0 else None


def _ome_size(xml: str) -> tuple[float, float] | None:
    from xml.etree import ElementTree

    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            at = element.attrib
            y, x = (
                float(at.get(f"PhysicalSize{a}", at["PhysicalSizeX"]))
                * UNITS.get(at.get(f"PhysicalSize{a}Unit", "µm"), 0.0)  # e.g. "pixel"
                for a in "YX"
            )
            return y, x
    return None


def _tag_size(file: Any) -> tuple[float, float] | None:
    tags = file.pages[0].tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    unit = (file.imagej_metadata or {}).get("unit")
    if unit is None:
        code = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else 1
        unit = "cm" if int(code) == 3 else None
    if str(unit) not in UNITS:
        return None
    per_pixel = []
    for name in ("YResolution", "XResolution"):
        count, length = tags[name].value
        if not count:
            return None
        per_pixel.append(length / count * UNITS[str(unit)])
    return (per_pixel[0], per_pixel[1])


def write_tiff(path: Path, image: xr.DataArray, dtype: Any = np.float32) -> None:
    """Write a TIFF that ImageJ opens with the right axes and pixel size.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
        Ends in .tif or .tiff; in .ome.tif for OME-TIFF.
    image : DataArray
        Dimensions out of "tzcyx"; ``attrs["pixel_size"]`` (y, x) in micrometre if known.
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
    metadata: dict[str, Any] = {"axes": "".join(present).upper()}
    options: dict[str, Any] = {}
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        options["ome"] = True
        if size:
            metadata |= {"PhysicalSizeY": size[0], "PhysicalSizeX": size[1]}
            metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    else:
        options["imagej"] = True
        if size:
            metadata["unit"] = "micron"
            options["resolution"] = (1 / size[1], 1 / size[0])
            options["resolutionunit"] = 1
    # in memory first: where the disk fills up, tifffile can leave a cut file without any error
    encoded = BytesIO()
    tifffile.imwrite(encoded, np.asarray(image.values, dtype), metadata=metadata, **options)
    write_bytes(path, encoded.getbuffer())
