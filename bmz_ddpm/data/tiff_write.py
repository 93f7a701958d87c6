"""Write TIFF piece by piece: ImageJ's kind plane by plane, OME-TIFF with a pyramid tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from .lazy import refuse_cut
from .ome_xml import describe

#: Larger files need BigTIFF.
CLASSIC = 2**32 - 2**25
#: Largest side of a tile.
TILE = 512


def write_imagej(
    path: Path, array: Any, dims: Sequence[str], attrs: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Write a TIFF that ImageJ opens with the right axes, sizes and names.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
    array
        With shape, dtype and slices; one plane is read at a time. Less than 4 GB.
    dims : sequence of str
        Letters of "tzcyx", in this order.
    attrs : mapping
        Of the image it was made from, see `lazy.open_image`.
    names : sequence of str
        Of the channels; () for none.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    import tifffile

    metadata: dict[str, Any] = {"axes": "".join(dims).upper()}
    if names:  # one label per plane, channels first
        sizes = dict(zip(dims, array.shape, strict=True))
        metadata["Labels"] = list(names) * math.prod(sizes.get(a, 1) for a in "tz")
    steps, said = attrs.get("steps", {}), attrs.get("imagej", {})
    metadata |= {"Info": said["Info"]} if "Info" in said else {}
    metadata |= {"finterval": steps["t"], "tunit": "s"} if "t" in steps else {}
    metadata |= {"spacing": steps["z"]} if "z" in steps else {}
    options: dict[str, Any] = {}
    if size := attrs.get("pixel_size"):
        options = {"resolution": (1 / size[1], 1 / size[0]), "resolutionunit": 1}
    if size or "z" in steps:
        metadata["unit"] = "micron"
    with replacing(path) as part:
        planes = (array[i] for i in np.ndindex(*array.shape[:-2]))
        tifffile.imwrite(
            part,
            planes,
            shape=array.shape,
            dtype=array.dtype,
            imagej=True,
            metadata=metadata,
            **options,
        )
        _refuse_short(part)


def write_ome_tiff(
    path: Path,
    levels: Sequence[Any],
    dims: Sequence[str],
    attrs: Mapping[str, Any],
    name: str,
    channels: Sequence[int] | None,
) -> None:
    """Write a tiled OME-TIFF; BigTIFF where it has to be.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
    levels : sequence
        The image, then its halves: arrays with shape, dtype and slices. A few rows of tiles are
        read at a time.
    dims, attrs
        As for `write_imagej`.
    name : str
        Of the image.
    channels : sequence of int
        See `ome_xml.describe`.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    import tifffile

    full = levels[0]
    xml = describe(name, dict(zip(dims, full.shape, strict=True)), full.dtype, attrs, channels)
    size = sum(math.prod(a.shape) for a in levels) * full.dtype.itemsize
    with replacing(path) as part:
        with tifffile.TiffWriter(part, bigtiff=size > CLASSIC) as file:
            for number, array in enumerate(levels):
                side = min(TILE, -(-max(array.shape[-2:]) // 16) * 16)
                first: dict[str, Any] = {"description": xml.encode(), "subifds": len(levels) - 1}
                file.write(
                    _tiles(array, side),
                    shape=(math.prod(array.shape[:-2]), *array.shape[-2:]),
                    dtype=array.dtype,
                    tile=(side, side),
                    photometric="minisblack",
                    metadata=None,
                    **(first if number == 0 else {"subfiletype": 1}),
                )
        _refuse_short(part)


def _tiles(array: Any, side: int) -> Iterator[np.ndarray]:
    for plane in np.ndindex(*array.shape[:-2]):
        for y in range(0, array.shape[-2], side):
            band = array[(*plane, slice(y, y + side))]
            for x in range(0, array.shape[-1], side):
                tile = np.zeros((side, side), array.dtype)
                piece = band[:, x : x + side]
                tile[: piece.shape[0], : piece.shape[1]] = piece
                yield tile


def _refuse_short(path: Path) -> None:
    """Where the disk fills up, tifffile can leave a cut file without any error."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            for level in file.series[0].levels:
                refuse_cut(path, level)
    except Exception as error:
        raise OSError(28, "No space left on device") from error
