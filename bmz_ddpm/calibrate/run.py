"""From fields of view that the model has not seen to a `Calibration`."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from ..config import Calibration
from ..diffusion.interval import Interval
from ..errors import DataError
from ..files import write_bytes
from .fields import Fields, divided
from .form import Form, Pixels, fit_form
from .promises import Guarantee, in_words, narrowest, refuse_too_few

#: Pixels of one image that the form is fitted to.
MOST_PIXELS = 100_000
#: Fields from which on the form may depend on the mean. Fitted to two fields of W2S this made the
#: intervals 2 % shorter, but their coverage less even: 87.0 to 92.4 % by field, not 88.5 to 91.3 %.
LEAST_FIELDS = 4
#: Scales that are tried, from narrow to wide.
SCALES = np.geomspace(0.02, 200, 4001)
REPORT, TABLE, CHECKPOINT = "calibration.json", "fields.csv", "calibrated.safetensors"


@dataclass(frozen=True)
class Promise:
    """What the intervals have to keep.

    Attributes
    ----------
    guarantee : "rcps", "crc" or "field"
        See `promises.narrowest`.
    alpha, delta : float
    """

    guarantee: Guarantee = "field"
    alpha: float = 0.1
    delta: float = 0.1


@dataclass(frozen=True)
class Row:
    """What was found in one field; shares of its pixels, lengths in counts.

    Attributes
    ----------
    field : str
    coverage : of an interval whose width the other fields decided, where enough are left.
    length : of the final interval.
    plain_coverage, plain_length : of mean ± z·std.
    """

    field: str
    coverage: float
    length: float
    plain_coverage: float
    plain_length: float


def calibrate(
    fields: Fields,
    promise: Promise,
    sampler: dict[str, Any],
    ends: tuple[float, float],
    fit: int | None = None,
    seed: int = 0,
) -> tuple[Calibration, list[Row]]:
    """Fit the form of the intervals to some fields and their width to the others.

    Parameters
    ----------
    fields : Fields
        None of which the model was trained on.
    promise : Promise
    sampler : dict
        `SamplerSettings.kind` of the sampler that made the predictions.
    ends : (low, high)
        Output range of the model, in counts.
    fit : int, optional
        Number of fields for the form; default a quarter, at least one.
    seed : int
        Decides which.

    Raises
    ------
    DataError
        If there are too few fields, or no interval within the output range keeps the promise.
    """
    first, rest = divided(list(fields.members), fit, seed)
    refuse_too_few(len(rest), promise.guarantee, promise.alpha, promise.delta)
    form = _fitted(fields, first, promise.alpha, ends)
    plain = Form(1.0, (0.0, 0.0, 0.0), 1.0, 1.0, *ends)
    risks, plain_risks, factor = _risks(fields, rest, form, plain)
    column = narrowest(risks, *asdict(promise).values())
    if column is None:
        raise DataError(
            f"no interval between {ends[0]:g} and {ends[1]:g} grey levels keeps the promise: in "
            f"field '{rest[int(risks[:, -1].argmax())]}' {risks[:, -1].max():.1%} of the clean "
            "pixels lie outside this range, which the model's results never leave",
            "calibrate on fields like the training images, or with --match-intensity",
        )
    coverage, left_out = _left_out(risks, column, promise)
    scale, same = float(SCALES[column]), _same_coverage(risks[:, column], plain_risks)
    modules = [form.module(scale), plain.module(NormalDist().inv_cdf(1 - promise.alpha / 2))]
    modules += [] if same is None else [plain.module(same)]
    found_in = np.array([measured_in(fields, field, modules) for field in rest])  # (N, M, 2)
    rows = [
        Row(name, float(share), *map(float, (m[0, 1], *m[1])))
        for name, share, m in zip(rest, coverage, found_in, strict=True)
    ]
    means = found_in.mean(0)
    found = Calibration(
        sampler=sampler,
        **asdict(promise),
        spread=form.spread,
        floor=form.floor,
        below=scale * form.below,
        above=scale * form.above,
        std_factor=factor,
        fit_fields=len(first),
        fields=len(rest),
        coverage=float(coverage.mean()),
        worst_coverage=float(coverage.min()),
        best_coverage=float(coverage.max()),
        left_out=left_out,
        length=float(means[0, 1]),
        plain_coverage=float(means[1, 0]),
        plain_length=float(means[1, 1]),
        scaled_factor=same,
        scaled_length=None if same is None else float(means[2, 1]),
        match_intensity=fields.match,
        **_likeness(fields),
    )
    return found, rows


def _fitted(fields: Fields, names: list[str], alpha: float, ends: tuple[float, float]) -> Form:
    parts = [p.thinned(MOST_PIXELS) for name in names for p in fields.pixels(name)]
    joined = (np.concatenate([getattr(p, k) for p in parts]) for k in ("truth", "mean", "std"))
    return fit_form(Pixels(*joined), alpha, ends, by_mean=len(names) >= LEAST_FIELDS)


def _risks(
    fields: Fields, names: list[str], form: Form, plain: Form
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Return the risk of every field at every scale, of both forms, and error over std."""
    risks = np.zeros((2, len(names), len(SCALES)))
    error = spread = 0.0
    for row, name in enumerate(names):
        count = 0
        for pixels in fields.pixels(name):
            for k, each in enumerate((form, plain)):
                scores = each.scores(pixels)
                first = np.searchsorted(SCALES, scores)  # the first scale that reaches
                reached = np.bincount(first, minlength=len(SCALES) + 1)[:-1].cumsum()
                risks[k, row] += pixels.truth.size - reached
            count += pixels.truth.size
            error += float(((pixels.truth.astype(np.float64) - pixels.mean) ** 2).sum())
            spread += float((pixels.std.astype(np.float64) ** 2).sum())
        risks[:, row] /= count
    return risks[0], risks[1], float(np.sqrt(error / spread)) if spread > 0 else None


def _left_out(risks: np.ndarray, column: int, promise: Promise) -> tuple[np.ndarray, bool]:
    """Return each field's coverage with a width from the other fields, where that is possible."""
    shares = []
    for row in range(len(risks)):
        others = np.delete(risks, row, 0)
        found = narrowest(others, *asdict(promise).values()) if len(others) else None
        if found is None:
            return 1 - risks[:, column], False
        shares.append(1 - risks[row, found])
    return np.array(shares), True


def _same_coverage(risks: np.ndarray, plain: np.ndarray) -> float | None:
    """Return the multiple of std that covers as much on average, if there is one."""
    enough = np.flatnonzero(plain.mean(0) <= risks.mean())
    return float(SCALES[enough[0]]) if len(enough) else None


def measured_in(fields: Fields, field: str, modules: list[Interval]) -> list[tuple[float, float]]:
    """Return coverage and mean length (counts) of every interval in a field, as packages do it."""
    inside, length, count = np.zeros(len(modules)), np.zeros(len(modules)), 0
    for pixels in fields.pixels(field):
        mean, std = torch.from_numpy(pixels.mean), torch.from_numpy(pixels.std)
        for k, module in enumerate(modules):
            lower, upper = (end.numpy() for end in module(mean, std))
            inside[k] += ((lower <= pixels.truth) & (pixels.truth <= upper)).sum()
            length[k] += (upper - lower).sum(dtype=np.float64)
        count += pixels.truth.size
    return list(zip(inside / count, length / count, strict=True))


def _likeness(fields: Fields) -> dict[str, Any]:
    found = fields.traits()
    lows, highs, noises = ([getattr(t, k) for t in found] for k in ("low", "high", "noise"))
    return {
        "range_low": (min(lows), max(lows)),
        "range_high": (min(highs), max(highs)),
        "noise_low": min(noises),
        "noise_high": max(noises),
    }


def write_results(out: Path, calibration: Calibration, rows: list[Row]) -> list[Path]:
    """Write calibration.json and fields.csv; return their paths.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: v if k == "field" else f"{v:.6g}" for k, v in asdict(r).items()} for r in rows
    )
    words = in_words(calibration.guarantee, calibration.alpha, calibration.delta)
    report = {"promise": words} | calibration.model_dump(mode="json")
    write_bytes(out / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    write_bytes(out / TABLE, text.getvalue().encode())
    return [out / REPORT, out / TABLE]
