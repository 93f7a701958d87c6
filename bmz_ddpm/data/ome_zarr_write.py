"""Write OME-Zarr images, version 0.4 or 0.5, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .ome_xml import describe
from .ome_zarr import OME_XML

FORMATS = {"0.4": 2, "0.5": 3}
KINDS = {"t": "time", "c": "channel"}
UNIT_NAMES = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
#: Pyramids end where both sides are at most this long.
SMALLEST = 512


def create_level(
    group: Any, level: int, dims: Sequence[str], shape: Sequence[int], chunk: int, dtype: Any
) -> Any:
    """Make an array without pixels in an open Zarr group, and return it.

    Parameters
    ----------
    group : zarr.Group
    level : int
        0 for the full resolution.
    dims : sequence of str
        Letters of "tzcyx".
    shape : sequence of int
    chunk : int
        Pixels along y and x that are stored together; 1 along the other axes.
    dtype : numpy dtype
    """
    chunks = tuple(min(chunk, n) if a in "yx" else 1 for a, n in zip(dims, shape, strict=True))
    new = group.metadata.zarr_format == 3
    return group.create_array(
        str(level),
        shape=tuple(shape),
        chunks=chunks,
        dtype=np.dtype(dtype),
        fill_value=0,
        dimension_names=list(dims) if new else None,
        chunk_key_encoding=None if new else {"name": "v2", "separator": "/"},
        overwrite=True,
        # a result of zeros is not a missing one
        config={"write_empty_chunks": True},
    )


def add_levels(group: Any, dims: Sequence[str], chunk: int, smallest: int = SMALLEST) -> int:
    """Halve the image again and again, and return the number of levels.

    Every pixel of a level is the mean of 2 x 2 pixels of the one before (at an odd border of
    those that there are), so the mean of the image stays. Only one chunk is in memory.

    Parameters
    ----------
    group : zarr.Group
        With the level "0".
    dims, chunk
        As for `create_level`.
    smallest : int
        The last level is the first one whose sides are at most this long.
    """
    level = 0
    while max(group[str(level)].shape[-2:]) > smallest:
        fine = group[str(level)]
        level += 1
        shape = (*fine.shape[:-2], *(-(-n // 2) for n in fine.shape[-2:]))
        coarse = create_level(group, level, dims, shape, chunk, fine.dtype)
        for plane, y, x in regions(shape, chunk):
            block = fine[(*plane, slice(2 * y.start, 2 * y.stop), slice(2 * x.start, 2 * x.stop))]
            coarse[(*plane, y, x)] = halved(block)
    return level + 1


def halved(block: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels of a (Y, X) image, in its own type."""
    odd = [(0, n % 2) for n in block.shape]
    padded = np.pad(block, odd, mode="edge").astype(np.float64)
    mean = (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4
    return (np.rint(mean) if block.dtype.kind in "ui" else mean).astype(block.dtype)


def regions(shape: Sequence[int], chunk: int) -> Iterator[tuple[tuple[int, ...], slice, slice]]:
    """Go through an image chunk by chunk: the plane's indices, rows and columns."""
    rows, columns = shape[-2:]
    for plane in np.ndindex(*shape[:-2]):
        for y in range(0, rows, chunk):
            for x in range(0, columns, chunk):
                yield plane, slice(y, min(y + chunk, rows)), slice(x, min(x + chunk, columns))


def write_metadata(
    folder: Path,
    dims: Sequence[str],
    attrs: Mapping[str, Any],
    name: str,
    version: str,
    channels: Sequence[int] | None,
    window: tuple[float, float],
) -> None:
    """Make an OME-Zarr image of a Zarr group with the levels "0", "1" …

    Parameters
    ----------
    folder : Path
    dims : sequence of str
    attrs : mapping
        Of the image it was made from, see `lazy.open_image`.
    name : str
    version : "0.4" or "0.5"
    channels : sequence of int
        See `ome_xml.describe`.
    window : (float, float)
        Grey levels that a viewer shows as black and white.
    """
    import zarr

    group: Any = zarr.open_group(folder, mode="r+")
    count = sum(1 for _ in group.array_keys())
    full = group["0"].shape
    known = dict(attrs.get("steps", {}))
    known |= dict(zip("yx", attrs.get("pixel_size", ()), strict=False))
    axes = [
        {"name": a, "type": KINDS.get(a, "space")} | ({"unit": UNIT_NAMES[a]} if a in known else {})
        for a in dims
    ]
    shifts = _translation(attrs, dims)
    datasets = []
    for level in range(count):
        step = 2.0**level
        scale = [float(known.get(a, 1.0)) * (step if a in "yx" else 1.0) for a in dims]
        # the middle of the first pixel moves when pixels are joined
        centre = [float(known.get(a, 1.0)) * (step - 1) / 2 if a in "yx" else 0.0 for a in dims]
        start = [c + s for c, s in zip(centre, shifts, strict=True)]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(start):
            transformations.append({"type": "translation", "translation": start})
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    multiscale: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets}
    multiscale |= {"type": "mean"} if count > 1 else {}
    omero = {"channels": _channels(attrs, dims, full, channels, window)}
    kept = {k: v for k, v in _own(attrs).items() if k not in ("multiscales", "omero", "version")}
    if version == "0.4":
        group.attrs.put(kept | {"multiscales": [multiscale | {"version": "0.4"}], "omero": omero})
    else:
        group.attrs.put(
            {"ome": {"version": "0.5", "multiscales": [multiscale], "omero": omero}} | kept
        )
    if "ome_xml" in attrs or "imagej" in attrs:
        sizes = dict(zip(dims, full, strict=True))
        xml = describe(name, sizes, group["0"].dtype, attrs, channels, tiff=False)
        (folder / OME_XML).parent.mkdir(exist_ok=True)
        (folder / OME_XML).write_text(xml, encoding="utf-8")


def _own(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else the old Zarr group says, e.g. of the microscope."""
    stored = dict(attrs.get("zarr", {}))
    stored.pop("ome", None)
    return stored


def _translation(attrs: Mapping[str, Any], dims: Sequence[str]) -> list[float]:
    """Return where the old image began, in its own units: as it was written."""
    metadata = attrs.get("zarr", {})
    metadata = metadata.get("ome", metadata)
    shifts = dict.fromkeys(dims, 0.0)
    if "multiscales" in metadata:
        old = metadata["multiscales"][0]
        letters = [{"channel": "c", "time": "t"}.get(a.get("type"), a["name"]) for a in old["axes"]]
        units = [a.get("unit") for a in old["axes"]]
        for step in old["datasets"][0].get("coordinateTransformations", []):
            if step["type"] == "translation":
                for a, unit, shift in zip(letters, units, step["translation"], strict=True):
                    if a in shifts and unit == UNIT_NAMES.get(a):
                        shifts[a] = float(shift)
    return [shifts[a] for a in dims]


def _channels(
    attrs: Mapping[str, Any],
    dims: Sequence[str],
    shape: Sequence[int],
    channels: Sequence[int] | None,
    window: tuple[float, float],
) -> list[dict[str, Any]]:
    count = shape[dims.index("c")] if "c" in dims else 1
    metadata = attrs.get("zarr", {})
    old = metadata.get("ome", metadata).get("omero", {}).get("channels", [])
    known = channels is not None and len(channels) == count and all(i < len(old) for i in channels)
    names = attrs.get("channel_names", ())
    span = {"start": window[0], "end": window[1], "min": window[0], "max": window[1]}
    made = []
    for i in range(count):
        new = {"color": "FFFFFF", "active": True}
        new |= dict(old[channels[i]]) if known and channels is not None else {}
        new |= {"label": names[i]} if len(names) == count else {"label": f"channel {i + 1}"}
        made.append(new | {"window": span})
    return made
