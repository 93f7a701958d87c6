"""Score a method on many pairs, one image in memory at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..data.images import write_tiff
from ..data.pairs import Pair
from ..data.planes import planes_of, read_pair
from ..errors import ConfigError, DataError, MissingDependency, UserError
from .images import image_names
from .journal import FORMAT, JOURNAL, REPORT, TABLE, Journal, write_report
from .methods import Method
from .prediction import Prediction, aligned, clipped, like, rescaled
from .results import Row, append_rows, keep_images
from .scores import score_plane


@dataclass(frozen=True)
class Scoring:
    """What is done with a prediction before it is scored.

    Attributes
    ----------
    peak : float
        Largest possible count; see `peak_of`.
    align : bool
        Shift it onto the truth.
    match_intensity : bool
        Bring the truth to the intensities of the noisy image, where files were rescaled one by
        one.
    rescale : (mean, std) or None
        Bring it linearly to these, in counts: the paper's treatment of N2V, CARE, UNet-RCAN.
    keep_images : bool
        Write the predictions as they were scored.
    """

    peak: float
    align: bool = False
    match_intensity: bool = False
    rescale: tuple[float, float] | None = None
    keep_images: bool = True


@dataclass(frozen=True)
class Evaluation:
    """Who is scored.

    Attributes
    ----------
    name : str
        Goes into every row of metrics.csv.
    method : Method
    model : dict or None
        {"name", "sha256"} of the model.
    settings : dict
        Sampler, tiles and whatever else decides the numbers; goes into evaluation.json.
    notes : list of str
    """

    name: str
    method: Method
    model: dict[str, str] | None
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)


#: Stand in evaluation.json beside the settings, or change no number.
_ELSEWHERE = {"method", "model_sha256", "peak", "resolution_unit", "images"}

#: Called before every image with (image number, images in all, name), and after a failed one
#: with what was wrong.
Progress = Callable[[int, int, str, UserError | None], None]


def evaluate(
    pairs: Sequence[Pair],
    evaluation: Evaluation,
    scoring: Scoring,
    out: Path,
    progress: Progress = lambda *_: None,
    extra: dict[str, Any] | None = None,
) -> list[dict[str, str]]:
    """Score every pair; write metrics.csv, evaluation.json and the predictions into `out`.

    An image that was finished before, with the same settings, is not computed again. One that
    cannot be scored is reported, and the rest goes on.

    Parameters
    ----------
    pairs : sequence of Pair
    evaluation : Evaluation
    scoring : Scoring
    out : Path
    progress : callable
    extra : dict, optional
        More entries for evaluation.json.

    Returns
    -------
    list of {"image", "reason"}
        What could not be scored.

    Raises
    ------
    UserError
        If nothing can be written, or `out` holds an evaluation with other settings.
    """
    names = image_names(pairs)
    unit = _unit(pairs[0])
    settings = evaluation.settings | {
        "method": evaluation.name,
        "model_sha256": (evaluation.model or {}).get("sha256"),
        "peak": scoring.peak,
        "align": scoring.align,
        "match_intensity": scoring.match_intensity,
        "rescale": scoring.rescale,
        "images": scoring.keep_images,
        "resolution_unit": unit,
    }
    journal = Journal(out / JOURNAL, settings)
    keep_images(out / TABLE, journal.finished)
    failed: list[dict[str, str]] = []
    for number, (name, pair) in enumerate(zip(names, pairs, strict=True), 1):
        if name in journal.finished:
            continue
        progress(number, len(pairs), name, None)
        try:
            record = _score_pair(name, pair, evaluation, scoring, out, unit)
        except UserError as error:
            if isinstance(error, ConfigError | MissingDependency):  # the same for every image
                raise
            failed.append({"image": name, "reason": error.problem})
            progress(number, len(pairs), name, error)
            continue
        journal.add(record)
    _report(journal, evaluation, settings, failed, out, extra or {})
    return failed


def _unit(pair: Pair) -> str:
    return "micrometre" if "pixel_size" in read_pair(pair)[1].attrs else "pixel"


def _score_pair(
    name: str, pair: Pair, evaluation: Evaluation, scoring: Scoring, out: Path, unit: str
) -> dict[str, Any]:
    low, high = read_pair(pair)
    planes = planes_of(pair, low, high, scoring.match_intensity)
    truth = planes.high.reshape(-1, *planes.high.shape[2:])  # (P, Y, X)
    start = time.monotonic()
    prediction = evaluation.method(name, low, high)
    seconds = time.monotonic() - start
    if prediction.mean.shape != truth.shape:
        raise DataError(
            f"{prediction.source or name}: the prediction has {_size(prediction.mean)}, the "
            f"clean image {pair.high} has {_size(truth)}",
            "predict the whole image, with its planes and channels",
        )
    prediction, valid, shifts = _prepared(prediction, truth, scoring)
    if planes.mask is not None:
        mask = np.repeat(planes.mask[:, 0], planes.high.shape[1], 0)
        valid = mask if valid is None else valid & mask
    rows, reasons = _rows(name, pair, evaluation.name, prediction, truth, valid, scoring.peak, {
        "micrometre": _micrometres(high), "pixel": 1.0,
    }[unit])  # fmt: skip
    record = {
        "image": name,
        "field": pair.fov,
        "low": str(pair.low.absolute()),
        "high": str(pair.high.absolute()),
        **_written(name, prediction, low, out, scoring.keep_images),
        "shift": shifts,
        "seconds": seconds,
        "megapixels": truth.size / 1e6,
        "reasons": reasons,
    }
    append_rows(out / TABLE, rows)
    return record


def _prepared(
    prediction: Prediction, truth: np.ndarray, scoring: Scoring
) -> tuple[Prediction, np.ndarray | None, list[list[float]] | None]:
    prediction = clipped(prediction, scoring.peak)
    if scoring.rescale is not None:
        prediction = clipped(rescaled(prediction, *scoring.rescale), scoring.peak)
    if not scoring.align:
        return prediction, None, None
    prediction, valid, shifts = aligned(prediction, truth)
    return clipped(prediction, scoring.peak), valid, shifts


def _rows(
    name: str,
    pair: Pair,
    method: str,
    prediction: Prediction,
    truth: np.ndarray,
    valid: np.ndarray | None,
    peak: float,
    pixel_size: float | None,
) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    reasons: dict[str, str] = {}
    for index, plane in enumerate(truth):
        where = None if valid is None else valid[index]
        if where is not None and not where.any():
            raise DataError(f"{pair.low}: plane {index} has no valid pixel", "leave it out")
        values, missing = score_plane(plane, prediction, index, peak, pixel_size, where)
        rows += [Row(method, pair.fov, name, index, metric, v) for metric, v in values.items()]
        reasons |= missing
    return rows, reasons


def _written(
    name: str, prediction: Prediction, image: xr.DataArray, out: Path, keep: bool
) -> dict[str, str | None]:
    """Write the prediction as it was scored; return the paths, relative to `out`."""
    paths: dict[str, str | None] = {"prediction": prediction.source, "std": None, "entropy": None}
    if not keep:
        return paths
    images: dict[str, np.ndarray | None] = {"prediction": prediction.mean}
    if prediction.count != 1:  # one sample has no spread; a map of zeros would look sure
        images |= {"std": prediction.std, "entropy": prediction.entropy}
    for kind, planes in images.items():
        if planes is not None:
            ending = "" if kind == "prediction" else f"_{kind}"
            paths[kind] = f"predictions/{name}{ending}.tif"
            write_tiff(out / "predictions" / f"{name}{ending}.tif", like(planes, image))
    return paths


def _report(
    journal: Journal,
    evaluation: Evaluation,
    settings: dict[str, Any],
    failed: list[dict[str, str]],
    out: Path,
    extra: dict[str, Any],
) -> None:
    seconds = megapixels = 0.0
    images = 0
    missing: dict[str, tuple[int, str]] = {}
    for record in journal.records():
        seconds += record["seconds"]
        megapixels += record["megapixels"]
        images += 1
        for metric, reason in record["reasons"].items():
            missing[metric] = missing.get(metric, (0, ""))[0] + 1, reason
    notes = [*evaluation.notes]
    notes += [f"{m}: n/a for {n} of {images} images: {why}" for m, (n, why) in missing.items()]
    ran = evaluation.settings.get("predictions") is None and megapixels > 0
    head = {"format": FORMAT, "method": evaluation.name, "model": evaluation.model}
    tail = {
        "seconds_per_megapixel": seconds / megapixels if ran else None,
        "peak": settings["peak"],
        "resolution_unit": settings["resolution_unit"],
        "notes": notes,
        "failed": failed,
        **extra,
    }
    shown = ("image", "field", "low", "high", "prediction", "std", "entropy", "shift")
    pairs = ({name: record[name] for name in shown} for record in journal.records())
    decided = {k: v for k, v in settings.items() if k not in _ELSEWHERE}
    write_report(out / REPORT, head | {"settings": decided}, pairs, tail)


def _micrometres(image: xr.DataArray) -> float | None:
    size = image.attrs.get("pixel_size")
    return float(np.sqrt(size[0] * size[1])) if size else None


def _size(planes: np.ndarray) -> str:
    return f"{len(planes)} planes of {planes.shape[1]} x {planes.shape[2]} pixels"
