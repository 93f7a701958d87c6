"""What a file says about its image: axes, pixel size, names of channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..axes import ORDER
from ..errors import DataError

#: Micrometres per unit, by the names that writers of TIFF and OME-Zarr use.
UNITS = {"micron": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0}
UNITS |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4}
UNITS |= {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "angstrom": 1e-4}
#: Seconds per unit.
SECONDS = {"second": 1.0, "s": 1.0, "sec": 1.0, "millisecond": 1e-3, "ms": 1e-3}
SECONDS |= {"minute": 60.0, "min": 60.0, "hour": 3600.0, "h": 3600.0}
RGB = ("red", "green", "blue")


def check_axes(axes: str, place: str = "") -> None:
    """Refuse letters that cannot be the axes of an image; `place` says where they stand.

    Raises
    ------
    DataError
        If `axes` has a letter twice, one out of "tzcyx" is unknown, or y or x is missing.
    """
    unknown = set(axes) - set(ORDER)
    if unknown or len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes):
        raise DataError(
            f"{place}axes '{axes}': must be different letters out of t, z, c, y and x, "
            "with y and x",
            "e.g. zyx for a stack of planes, tyx for a time series, cyx for channels",
        )


def name_axes(
    path: Path, letters: str, shape: Sequence[int], declared: str = ""
) -> tuple[str, ...]:
    """Name the dimensions of an array as it is stored.

    Parameters
    ----------
    path : Path
        For messages.
    letters : str
        What the file calls them; "q" and "i" (pages of a plain TIFF) say nothing, "s" are
        the samples of a colour image.
    shape : sequence of int
    declared : str
        What the user says, in the order in which the file stores them; "" for nothing. A
        single unknown axis is then z: planes are treated alike, whether z or t.

    Returns
    -------
    tuple of str
        Letters out of "tzcyx"; "_0", "_1" … for unknown dimensions of length one.

    Raises
    ------
    DataError
        If a dimension has no name, or the file says something else than the user.
    """
    names = [{"s": "c"}.get(a, a if a in ORDER else "") for a in letters]
    names = [a if a not in names[:i] else "" for i, a in enumerate(names)]
    if declared:
        check_axes(declared)
        names = _declare(path, names, letters, shape, declared)
    elif "z" not in names:
        pages = [i for i, a in enumerate(letters) if a in "qi"]
        pages.sort(key=lambda i: shape[i] == 1)
        names = ["z" if pages[:1] == [i] else a for i, a in enumerate(names)]
    for i, (name, length) in enumerate(zip(names, shape, strict=True)):
        if not name and length > 1:
            raise DataError(
                f"{path}: axis '{letters[i]}' of length {length} is not one of t, z, c, y, x",
                "declare its axes with --axes, or save it as an ImageJ or OME TIFF"
                if letters[i] in "qi"
                else "save it as an ImageJ or OME TIFF",
            )
    return tuple(name or f"_{i}" for i, name in enumerate(names))


def _declare(
    path: Path, names: list[str], letters: str, shape: Sequence[int], declared: str
) -> list[str]:
    if set(letters) & set("qi"):  # then y and x are only the sides of a page
        names = [a if a == "c" else "" for a in names]
    said = "".join(a for a, length in zip(names, shape, strict=True) if a and length > 1)
    if not set(said) <= set(declared):
        raise DataError(
            f"{path}: its axes are '{said}' but '{declared}' is declared, both must agree",
            "correct the declared axes, or leave them out",
        )
    free = [a for a in declared if a not in names]
    places = [i for i, a in enumerate(names) if not a]
    if len(places) != len(free):
        places = [i for i in places if shape[i] > 1]
    if not places:
        return names
    if len(places) != len(free):
        raise DataError(
            f"{path}: is {' x '.join(map(str, shape))}, which '{declared}' does not name",
            "declare one letter per axis, in the order in which they are stored",
        )
    for i, axis in zip(places, free, strict=True):
        names[i] = axis
    return names


def tiff_pixel_size(file: Any) -> tuple[float, float] | None:
    """Return (y, x) in micrometre from OME-XML, or from ImageJ or plain resolution tags."""
    size = _ome_size(file.ome_metadata) if file.ome_metadata else _tag_size(file)
    return size if size and min(size) > 0 else None


def _ome_size(xml: str) -> tuple[float, float] | None:
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


def tiff_channel_names(file: Any, count: int) -> tuple[str, ...]:
    """Return `count` names from OME-XML or from ImageJ's slice labels; () when there are none."""
    names: list[str] = []
    if file.ome_metadata:
        for element in ElementTree.fromstring(file.ome_metadata).iter():
            if element.tag.endswith("}Pixels"):
                channels = [e for e in element if e.tag.endswith("}Channel")]
                names = [e.attrib.get("Name", "") for e in channels]
                break
    elif file.imagej_metadata:
        # one label per plane, channels first: "c:1/2 z:1/7 - DAPI"
        labels = file.imagej_metadata.get("Labels") or []
        names = [re.sub(r"^([ctz]:\d+/\d+ )+- ", "", str(a)) for a in labels[:count]]
    return known_names(names, count)


def known_names(names: Sequence[Any], count: int) -> tuple[str, ...]:
    """Return the names of `count` channels; () when that is not what `names` are."""
    found = tuple(str(name).strip() for name in names)
    return found if len(found) == count and any(found) else ()
