"""What more samples gain, and what that says about the uncertainty."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from ..data.images import read_image
from ..data.pairs import Pair
from ..errors import UserError
from ..files import temporary_beside
from .images import image_names
from .methods import Method
from .prediction import as_planes
from .scores import FIDELITY, similarity

#: As in the paper's figure S1, up to the 15 samples that it averages.
COUNTS = (1, 2, 4, 8, 15)


class Averaging(NamedTuple):
    """The error of an average of N samples, MSE = B + V/N.

    Attributes
    ----------
    bias : float
        B, squared counts: the error of infinitely many samples.
    variance : float
        V, squared counts: what one sample adds.
    gain_db : float
        PSNR of the largest average minus that of one sample, from the means of the MSE.
    """

    bias: float
    variance: float
    gain_db: float

    @property
    def spread_over_error(self) -> float:
        """sqrt(V/B): 1 for samples of the true posterior."""
        return float(np.sqrt(self.variance / self.bias)) if self.bias > 0 else float("inf")

    @property
    def overconfidence(self) -> float:
        """The factor by which std maps are too small; infinite if averaging gains nothing."""
        return 1 / self.spread_over_error if self.variance > 0 else float("inf")


def fit_averaging(counts: Sequence[int], errors: Sequence[float]) -> Averaging:
    """Fit B and V to the mean square errors of averages.

    Parameters
    ----------
    counts : sequence of int
        Numbers of averaged samples.
    errors : sequence of float
        Mean square error of each, in squared counts.
    """
    inverse = 1 / np.asarray(counts, np.float64)
    table = np.stack([np.ones_like(inverse), inverse], 1)
    (bias, variance), *_ = np.linalg.lstsq(table, np.asarray(errors, np.float64), rcond=None)
    bias, variance = (float(v) if v > 1e-9 * errors[0] else 0.0 for v in (bias, variance))
    return Averaging(bias, variance, float(10 * np.log10(errors[0] / errors[-1])))


def averaging_curve(
    pairs: Sequence[Pair],
    method: Method,
    out: Path,
    *,
    peak: float,
    crop: int = 256,
    counts: Sequence[int] = COUNTS,
    failed: Callable[[str, UserError], None] = lambda *_: None,
) -> Averaging | None:
    """Score averages of few and many samples on the middle of every image.

    Parameters
    ----------
    pairs : sequence of Pair
    method : Method
        Gives at least ``max(counts)`` samples.
    out : Path
        Where averaging.csv goes: samples, metric, value; one row per image.
    peak : float
    crop : int
        Side of the central part, in pixels. Only the first plane of a stack is taken.
    counts : sequence of int
    failed : callable
        Called with (image, error) for an image that cannot be scored.

    Returns
    -------
    Averaging or None
        None if there is no image that could be scored.

    Notes
    -----
    With 15 samples there are 15 averages of one, 7 of two, 3 of four, one of eight and one of 15;
    values are means over these.
    """
    errors = np.zeros(len(counts))
    images = 0
    part = temporary_beside(out / "averaging.csv")
    try:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("samples", "metric", "value"))
            for name, pair in zip(image_names(pairs), pairs, strict=True):
                try:
                    rows, squares = _curve_of(name, pair, method, peak, crop, counts)
                except UserError as error:
                    failed(name, error)
                    continue
                writer.writerows(rows)
                errors += squares
                images += 1
        os.replace(part, out / "averaging.csv")
    finally:
        part.unlink(missing_ok=True)
    return fit_averaging(counts, list(errors / images)) if images else None


def _curve_of(
    name: str, pair: Pair, method: Method, peak: float, crop: int, counts: Sequence[int]
) -> tuple[list[tuple[int, str, str]], np.ndarray]:
    low, high = (_middle(read_image(path), crop) for path in (pair.low, pair.high))
    samples = method(name, low, high).samples
    assert samples is not None  # the command sees to it
    assert len(samples) >= max(counts)
    truth = as_planes(high)[0]
    rows, squares = [], []
    for count in counts:
        groups = [
            samples[i : i + count, 0].mean(0) for i in range(0, len(samples) - count + 1, count)
        ]
        groups = [np.clip(image, 0, peak) for image in groups]
        squares.append(np.mean([np.mean((image - truth) ** 2) for image in groups]))
        scores = [similarity(truth, i, truth.ravel(), i.ravel(), peak, 1.0)[0] for i in groups]
        for metric in FIDELITY:
            known = [v for s in scores if (v := s.get(metric)) is not None]
            if known and np.isfinite(np.mean(known)):
                rows.append((count, metric, f"{np.mean(known):.8g}"))
    return rows, np.array(squares)


def _middle(image: xr.DataArray, crop: int) -> xr.DataArray:
    """Return the central part of the first plane; it starts on the grid of the tiles."""
    first = image.isel({d: slice(0, 1) for d in "tz" if d in image.dims})
    part = {}
    for axis in "yx":
        length = first.sizes[axis]
        start = max(length - crop, 0) // 2 // 32 * 32
        part[axis] = slice(start, start + min(crop, length))
    return first.isel(part)
