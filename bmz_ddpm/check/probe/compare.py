"""How far are results from what was expected?"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Job = Any  #: what JSON holds


class NotRun(Exception):
    """Something is missing here; the package may still be good."""


def version_of(module: str) -> str:
    """Return the version that a module says; onnxruntime-gpu is a module onnxruntime, too."""
    return str(importlib.import_module(module).__version__)


def inputs_of(job: Job) -> list[Any]:
    """Return the test inputs for an engine that is called directly.

    Raises
    ------
    NotRun
        If there are none, or the programs compute something before or after the network.
    """
    reasons = [job["no_inputs"], *(o["postprocessed"] for o in job["outputs"])]
    for reason in filter(None, reasons):
        raise NotRun(reason)
    return [np.load(source) for source in job["inputs"]]


def weights_of(job: Job, weights_format: str) -> str:
    """Return the path of a weights file.

    Raises
    ------
    NotRun
        If the package has none.
    """
    if weights_format not in job["weights"]:
        raise NotRun(f"the package has no {weights_format} weights")
    source: str = job["weights"][weights_format]
    return source


def tolerance_of(job: Job, output: str, weights_format: str) -> tuple[float, float, float]:
    """Return (relative, absolute, elements per million that may differ), as bioimageio.core."""
    for each in job["tolerances"]:
        formats, outputs = each["weights_formats"], each["output_ids"]
        if (not formats or weights_format in formats) and (not outputs or output in outputs):
            return each["relative"], each["absolute"], each["per_million"]
    raise ValueError("a job ends with a tolerance for everything")


def compare(
    job: Job, results: Sequence[Any], weights_format: str, reference: Any = None
) -> list[dict[str, Any]]:
    """Compare results with the package's test tensors, or with `reference`.

    Returns
    -------
    list of dict
        For each output: `id`, `shape`, and where there is something to compare with `largest`
        (|difference|), `beyond` (share of elements beyond the tolerance), `within` (whether
        few enough are), and the same for each of several named `channels`.

    Raises
    ------
    ValueError
        If number or shape are wrong, or a result is not finite.
    """
    outputs = job["outputs"]
    if len(results) != len(outputs):
        raise ValueError(f"the file returns {len(results)} outputs, rdf.yaml names {len(outputs)}")
    found = []
    for i, (output, result) in enumerate(zip(outputs, results, strict=True)):
        values = np.asarray(result)
        if not np.isfinite(values).all():
            raise ValueError(f"{output['place']} holds NaN or infinity")
        entry = {"id": output["id"], "shape": list(values.shape)}
        source = output["expected"] if reference is None else None
        expected = np.load(source) if source else (None if reference is None else reference[i])
        if expected is not None:
            limits = tolerance_of(job, output["id"], weights_format)
            entry.update(_differences(output, values, np.asarray(expected), limits))
        found.append(entry)
    return found


def _differences(
    output: Any, values: Any, expected: Any, limits: tuple[float, float, float]
) -> dict[str, Any]:
    if values.shape != expected.shape:
        raise ValueError(
            f"{output['place']} has the shape {values.shape}, its test tensor {expected.shape}"
        )
    relative, absolute, per_million = limits
    size = np.abs(expected.astype(np.float64))
    difference = np.abs(values.astype(np.float64) - expected)
    beyond = difference > absolute + relative * size

    def numbers(chosen: Any) -> dict[str, float]:
        return {
            "largest": float(difference[chosen].max()),
            "beyond": float(beyond[chosen].mean()),
        }

    entry: dict[str, Any] = numbers(...)
    entry["within"] = bool(beyond.mean() * 1e6 <= per_million)
    entry["allowed"] = [absolute, relative]
    names, axis = output["channels"], output["channel_axis"]
    if axis is not None and len(names) > 1 and values.shape[axis] == len(names):
        before = (slice(None),) * axis
        entry["channels"] = [{"name": n, **numbers((*before, c))} for c, n in enumerate(names)]
    return entry


def in_words(outputs: Sequence[Any], base: str = "the test tensors") -> str:
    """Return what `compare` found as a sentence."""
    parts, bad = [], []
    for entry in outputs:
        if "largest" not in entry:
            continue
        for part in entry.get("channels", [entry]):
            largest = f"{part['largest']:.1e}" if part["largest"] else "0"
            parts.append(f"{part.get('name', entry['id'])} {largest}")
        if not entry["within"]:
            absolute, relative = entry["allowed"]
            bad.append(
                f"{entry['beyond']:.2%} of {entry['id']} differ by more than {absolute:.1e} + "
                f"{relative:.0e} of the value"
            )
    if not parts:
        return "the package has no test tensors to compare with"
    text = f"largest difference from {base}: {', '.join(parts)}"
    return f"{text}; {' and '.join(bad)}" if bad else text + " (within the tolerance)"
