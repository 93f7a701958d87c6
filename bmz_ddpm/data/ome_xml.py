"""OME-XML: what it says about steps, and the same text for an image made from another."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from .metadata import SECONDS, UNITS

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
TYPES = {"float32": "float", "float64": "double"}


def steps_of(xml: str) -> dict[str, float]:
    """Return the distance of planes in micrometre ("z") and of time points in seconds ("t")."""
    pixels = _pixels(ElementTree.fromstring(xml))
    found = {}
    if pixels is not None:
        at = pixels.attrib
        z = float(at.get("PhysicalSizeZ", 0)) * UNITS.get(at.get("PhysicalSizeZUnit", "µm"), 0.0)
        unit = SECONDS.get(at.get("TimeIncrementUnit", "s"), 0.0)
        found = {"z": z, "t": float(at.get("TimeIncrement", 0)) * unit}
    return {a: step for a, step in found.items() if 0 < step < math.inf}


def describe(
    name: str,
    sizes: Mapping[str, int],
    dtype: Any,
    attrs: Mapping[str, Any],
    channels: Sequence[int] | None,
    tiff: bool = True,
) -> str:
    """Return the OME-XML of an image that was made from another one.

    What the microscope wrote down about the image stays: instrument, objective, detectors,
    dates, positions and times of planes, annotations.

    Parameters
    ----------
    name : str
        Of the image.
    sizes : mapping
        Pixels along those of "tzcyx" that there are.
    dtype : numpy dtype
        Of the new image.
    attrs : mapping
        Of the old image, as `lazy.open_image` returns them.
    channels : sequence of int
        The old image's channels that the new one's stand for; None where they stand for none.
    tiff : bool
        Whether the pixels lie in the same TIFF, in the order t, z, c.

    Returns
    -------
    str

    References
    ----------
    https://docs.openmicroscopy.org/ome-model/6.3.1/ome-xml/
    """
    old = ElementTree.fromstring(attrs["ome_xml"]) if "ome_xml" in attrs else None
    root = copy.deepcopy(old) if old is not None else _minimal(attrs)
    space = root.tag.partition("}")[0].removeprefix("{")
    ElementTree.register_namespace("", space)
    root.attrib.pop("UUID", None)  # of the old file
    root.set("Creator", "bmz-ddpm")
    images = [e for e in root if e.tag == f"{{{space}}}Image"]
    for other in images[1:]:  # thumbnails and labels
        root.remove(other)
    images[0].set("Name", name)
    pixels = _pixels(root)
    assert pixels is not None  # _minimal has it, and a reader has used it
    kind = np.dtype(dtype).name
    pixels.attrib |= {"DimensionOrder": "XYCZT", "Type": TYPES.get(kind, kind)}
    pixels.attrib |= {f"Size{a.upper()}": str(sizes.get(a, 1)) for a in "xyzct"}
    for attribute in ("BigEndian", "Interleaved", "SignificantBits"):
        pixels.attrib.pop(attribute, None)
    _renumber(pixels, space, channels, sizes.get("c", 1), attrs.get("channel_names", ()))
    if tiff:
        planes = math.prod(sizes.get(a, 1) for a in "tzc")
        data = Element(f"{{{space}}}TiffData", IFD="0", PlaneCount=str(planes))
    else:
        data = Element(f"{{{space}}}MetadataOnly")
    after = [i for i, e in enumerate(pixels) if e.tag == f"{{{space}}}Channel"]
    pixels.insert(after[-1] + 1, data)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'


def _pixels(root: Element) -> Element | None:
    return next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)


def _minimal(attrs: Mapping[str, Any]) -> Element:
    """Return the OME-XML of an image that came without: sizes, steps and names."""
    root = Element(f"{{{SCHEMA}}}OME")
    image = SubElement(root, f"{{{SCHEMA}}}Image", ID="Image:0")
    if info := (attrs.get("imagej") or {}).get("Info"):
        SubElement(image, f"{{{SCHEMA}}}Description").text = str(info)
    pixels = SubElement(image, f"{{{SCHEMA}}}Pixels", ID="Pixels:0")
    steps = attrs.get("steps", {})
    micrometre = dict(zip("YX", attrs.get("pixel_size", ()), strict=False))
    micrometre |= {"Z": steps["z"]} if "z" in steps else {}
    for a, step in micrometre.items():
        pixels.attrib |= {f"PhysicalSize{a}": repr(float(step)), f"PhysicalSize{a}Unit": "µm"}
    if "t" in steps:
        pixels.attrib |= {"TimeIncrement": repr(float(steps["t"])), "TimeIncrementUnit": "s"}
    return root


def _renumber(
    pixels: Element,
    space: str,
    channels: Sequence[int] | None,
    count: int,
    names: Sequence[str],
) -> None:
    """Keep the chosen channels and their planes, and take away where the old pixels lay."""
    for tag in ("TiffData", "BinData", "MetadataOnly"):
        for element in pixels.findall(f"{{{space}}}{tag}"):
            pixels.remove(element)
    old = pixels.findall(f"{{{space}}}Channel")
    # a colour image has one channel of three samples: it says nothing about each
    known = channels is not None and all(i < len(old) for i in channels) and len(channels) == count
    kept = [old[i] for i in channels or ()] if known else []
    for element in old:
        pixels.remove(element)
    if not kept:
        kept = [Element(f"{{{space}}}Channel", ID=f"Channel:0:{i}") for i in range(count)]
        if len(names) == count:
            for element, name in zip(kept, names, strict=True):
                element.set("Name", name)
    for i, element in enumerate(kept):
        element.set("SamplesPerPixel", "1")
        pixels.insert(i, element)
    place = {str(c): str(i) for i, c in enumerate(channels or ())} if known else {}
    for plane in pixels.findall(f"{{{space}}}Plane"):
        if plane.get("TheC") in place:
            plane.set("TheC", place[plane.get("TheC", "")])
        else:
            pixels.remove(plane)
