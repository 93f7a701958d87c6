"""What Fiji's JDLL does with a package: which weights it takes, which tiles it cuts.

It keeps the weights in a Java HashMap under names like "torchscript_v2.0.0" and "onnx_v17" and
takes the first that it has an engine for. The order of a HashMap follows from the hash of its
keys, so it can be computed. Names and order were compared with JDLL's public source and with
`java.util.HashMap`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .package import Package

#: Formats that JDLL has engines for, and the key of their version in the rdf.
VERSION_KEYS = {
    "torchscript": "pytorch_version",
    "onnx": "opset_version",
    "tensorflow_saved_model_bundle": "tensorflow_version",
}
#: Formats that it only lists; they fill places in the table nevertheless.
LISTED_KEYS = {
    "pytorch_state_dict": "pytorch_version",
    "keras_hdf5": "tensorflow_version",
    "tensorflow_js": "tensorflow_version",
}
#: Versions that it assumes where the rdf gives none.
ASSUMED = {"torchscript": "1.13.1", "pytorch_state_dict": "1.13.1", "onnx": "17"}


def string_hash(text: str) -> int:
    """Return Java's `String.hashCode` as an unsigned number of 32 bits.

    It is s[0] 31^(n-1) + … + s[n-1] modulo 2^32 over the UTF-16 code units.
    """
    units = text.encode("utf-16-be")
    value = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value


def hash_order(keys: list[str]) -> list[str]:
    """Return distinct keys in the order in which a Java HashMap lists them.

    The table has 16 places and doubles when it is more than three quarters full. The place is
    the low bits of h ^ (h >>> 16); keys in one place keep the order in which they came.
    """
    places = 16
    while len(keys) > 0.75 * places:
        places *= 2

    def place(key: str) -> int:
        value = string_hash(key)
        return (value ^ value >> 16) & (places - 1)

    return sorted(keys, key=place)


def weights_choice(package: Package) -> str | None:
    """Return the weights format that Fiji takes; None if it has an engine for none."""
    names = {}
    for name, entry in package.weights.items():
        key = (VERSION_KEYS | LISTED_KEYS).get(name)
        if key:
            version = str(entry.get(key) or ASSUMED.get(name, "Unknown0"))
            for end in ("+", "cuda", "cu"):  # 2.0.0+cpu counts as 2.0.0
                version = version.split(end)[0].strip()
            names[f"{name}_v{version}"] = name
    usable = [names[n] for n in hash_order(list(names)) if names[n] in VERSION_KEYS]
    return usable[0] if usable else None


@dataclass(frozen=True)
class TilePlan:
    """How an image would be cut.

    Attributes
    ----------
    tile : (y, x) in pixels, halo included
    count : int
        Number of tiles.
    refused : str
        Why the image cannot be used; "" if it can.
    """

    tile: tuple[int, int]
    count: int
    refused: str = ""


def halo_of(package: Package) -> tuple[int, int]:
    """Return the largest halo of the outputs in y and x."""
    axes = [a for t in package.outputs for a in t.plane]
    y, x = (max((a.halo for a in axes if a.id == name), default=0) for name in "yx")
    return y, x


def fiji_tiles(package: Package, image: tuple[int, int]) -> TilePlan | None:
    """Cut an image as JDLL does; None if the first input has no y and x.

    Parameters
    ----------
    image : (y, x) in pixels, at most 4096 * 4096 * 3 of them; larger images are cut where the
        size of the input is free, which is not computed here
    """
    axes = {a.id: a for a in package.inputs[0].plane} if package.inputs else {}
    if set(axes) != {"y", "x"}:
        return None
    tile, count = [], 1
    for name, size, halo in zip("yx", image, halo_of(package), strict=True):
        axis = axes[name]
        if axis.size:
            side = axis.size
        else:
            step = axis.step or 1
            side = (size + 2 * halo) // step * step  # rounds down
            if side > 3 * size and side - step >= (axis.min or 0):
                side -= step
        tile.append(side)
        inner = side - 2 * halo
        count *= math.ceil(size / inner) if inner > 0 else 1
    shape = tile[0], tile[1]
    return TilePlan(shape, count, _refusal(shape, image, halo_of(package)))


def _refusal(tile: tuple[int, int], image: tuple[int, int], halo: tuple[int, int]) -> str:
    for name, side, size, border in zip("yx", tile, image, halo, strict=True):
        if 3 * size < side:
            return f"{name} has {size} pixels, less than a third of the {side}-pixel tile"
        if side - 2 * border <= 0:
            return f"the tile has {side} pixels in {name}, the halo on both sides {2 * border}"
    return ""
