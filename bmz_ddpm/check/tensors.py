"""Inputs and outputs of a package, in one form for the formats 0.4 and 0.5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_LETTERS = {"b": "batch", "c": "channel", "t": "time", "i": "index"}


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    Attributes
    ----------
    id, type : str
        As in format 0.5: "y" and "space", "batch" and "batch" …
    size : int or None
        Set where it is one fixed number of pixels.
    min, step : int or None
        Set where the size is min, min + step, min + 2 step …
    reference : (tensor, axis) or None
        Set where the size follows an axis of another tensor.
    halo : int
        Pixels on each side that are cut off.
    channels : int or None
        Number of channel names; None where there are none.
    """

    id: str
    type: str
    size: int | None = None
    min: int | None = None
    step: int | None = None
    reference: tuple[str, str] | None = None
    halo: int = 0
    channels: int | None = None


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes
    ----------
    id : str
    kind : "inputs" or "outputs"
    place : str
        How messages name it.
    axes : tuple of Axis
    dtype : str
    processing : tuple of (name, keyword arguments)
    raw : dict
        As in the rdf.
    """

    id: str
    kind: str
    place: str
    axes: tuple[Axis, ...]
    dtype: str
    processing: tuple[tuple[str, dict[str, Any]], ...]
    raw: dict[str, Any]

    @property
    def plane(self) -> list[Axis]:
        """The axes y and x, as far as they exist."""
        return [a for a in self.axes if a.id in ("y", "x")]


def read_tensors(rdf: dict[str, Any]) -> list[Tensor]:
    """Return all inputs, then all outputs; what is no mapping is left out."""
    found = []
    for kind in ("inputs", "outputs"):
        entries = rdf.get(kind)
        for i, raw in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(raw, dict):
                found.append(_tensor(kind, i, raw))
    return found


def _tensor(kind: str, index: int, raw: dict[str, Any]) -> Tensor:
    name = str(raw.get("id", raw.get("name", kind[:-1])))
    axes = raw.get("axes")
    if isinstance(axes, str):
        read = _old_axes(axes, raw)
    else:
        read = [_axis(a) for a in (axes if isinstance(axes, list) else []) if isinstance(a, dict)]
    data = raw.get("data")
    first = data[0] if isinstance(data, list) and data else data
    dtype = first.get("type", "float32") if isinstance(first, dict) else raw.get("data_type")
    steps = raw.get("preprocessing" if kind == "inputs" else "postprocessing")
    processing = tuple(
        (str(s.get("id", s.get("name"))), s["kwargs"] if isinstance(s.get("kwargs"), dict) else {})
        for s in (steps if isinstance(steps, list) else [])
        if isinstance(s, dict)
    )
    place = f"{kind}[{index}] ({name})"
    return Tensor(name, kind, place, tuple(read), str(dtype or "float32"), processing, raw)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _axis(raw: dict[str, Any]) -> Axis:
    """Read an axis of format 0.5."""
    kind = str(raw.get("type", "unknown"))
    name = str(raw.get("id", "x" if kind == "space" else kind))
    names = raw.get("channel_names")
    channels = len(names) if isinstance(names, list) else None
    halo = _whole(raw.get("halo")) or 0
    size = raw.get("size")
    fixed = _whole(size)
    if kind == "batch" and size is None:
        return Axis(name, kind, None, 1, 1)
    if not isinstance(size, dict):
        return Axis(name, kind, channels if fixed is None else fixed, halo=halo, channels=channels)
    if "tensor_id" in size:
        reference = str(size["tensor_id"]), str(size.get("axis_id"))
        return Axis(name, kind, reference=reference, halo=halo, channels=channels)
    low, step = _whole(size.get("min")), _whole(size.get("step"))
    return Axis(name, kind, None, low, step, halo=halo, channels=channels)


def _old_axes(letters: str, raw: dict[str, Any]) -> list[Axis]:
    """Read "bcyx" with the shape of format 0.4: numbers, min + step, or a reference."""

    def at(values: Any, i: int) -> int | None:
        return _whole(values[i]) if isinstance(values, list) and i < len(values) else None

    shape, found = raw.get("shape"), []
    for i, letter in enumerate(letters):
        kind = _LETTERS.get(letter, "space")
        name = _LETTERS.get(letter, letter)
        halo = at(raw.get("halo"), i) or 0
        channels = 1 if kind == "channel" else None  # 0.4 does not name them
        if isinstance(shape, list):
            found.append(Axis(name, kind, at(shape, i), halo=halo, channels=channels))
        elif isinstance(shape, dict) and "reference_tensor" in shape:
            fixed = _old_output_size(shape, i)
            reference = None if fixed else (str(shape["reference_tensor"]), name)
            found.append(Axis(name, kind, fixed, reference=reference, halo=halo, channels=channels))
        else:
            low = at(shape.get("min"), i) if isinstance(shape, dict) else None
            step = at(shape.get("step"), i) if isinstance(shape, dict) else None
            fixed = low if step == 0 else None  # step 0 is how 0.4 says "fixed"
            low, step = (None, None) if fixed is not None else (low, step)
            found.append(Axis(name, kind, fixed, low, step, halo=halo, channels=channels))
    return found


def _old_output_size(shape: dict[str, Any], i: int) -> int | None:
    """Return the size of an output's axis that follows no input: its scale is 0 or none."""
    scale, offset = (v if isinstance(v := shape.get(k), list) else [] for k in ("scale", "offset"))
    if i >= min(len(scale), len(offset)) or scale[i]:
        return None
    half = offset[i]
    known = isinstance(half, int | float) and math.isfinite(half)
    return int(2 * half) or None if known else None
