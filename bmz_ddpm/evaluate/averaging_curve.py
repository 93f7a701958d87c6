"""Average few and many samples, and score every average."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ..data.pairs import Pair
from ..data.planes import centre, read_pair
from ..errors import UserError
from ..files import replacing
from .averaging import SQUARED_ERROR, Averaging, fit_averaging
from .images import image_names
from .methods import Method
from .prediction import as_planes
from .scores import FIDELITY, similarity

#: As in the paper's figure S1, up to the 15 samples that it averages.
COUNTS = (1, 2, 4, 8, 15)


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
        Where averaging.csv goes: image, samples, metric, value. Beside the measures it holds
        mse, the mean squared error in squared counts; it lacks the resolution, whose ratio to
        that of the clean image has no unit.
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
    with (
        replacing(out / "averaging.csv") as part,
        part.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image", "samples", "metric", "value"))
        for name, pair in zip(image_names(pairs), pairs, strict=True):
            try:
                rows, squares = _curve_of(name, pair, method, peak, crop, counts)
            except UserError as error:
                failed(name, error)
                continue
            writer.writerows((name, *row) for row in rows)
            errors += squares
            images += 1
    return fit_averaging(counts, list(errors / images)) if images else None


def _curve_of(
    name: str, pair: Pair, method: Method, peak: float, crop: int, counts: Sequence[int]
) -> tuple[list[tuple[int, str, str]], np.ndarray]:
    low, high = (_middle(image, crop) for image in read_pair(pair))
    samples = method(name, low, high).samples
    assert samples is not None  # the command sees to it
    assert len(samples) >= max(counts)
    truth = as_planes(high)[0]
    rows: list[tuple[int, str, str]] = []
    squares = []
    for count in counts:
        groups = [
            samples[i : i + count, 0].mean(0) for i in range(0, len(samples) - count + 1, count)
        ]
        groups = [np.clip(image, 0, peak) for image in groups]
        squares.append(np.mean([np.mean((image - truth) ** 2) for image in groups]))
        rows.append((count, SQUARED_ERROR, f"{squares[-1]:.8g}"))
        scores = [similarity(truth, i, truth.ravel(), i.ravel(), peak, None)[0] for i in groups]
        for metric in FIDELITY:
            known = [v for s in scores if (v := s.get(metric)) is not None]
            if known and np.isfinite(np.mean(known)):
                rows.append((count, metric, f"{np.mean(known):.8g}"))
    return rows, np.array(squares)


def _middle(image: xr.DataArray, crop: int) -> xr.DataArray:
    """Return the central part of the first plane; it starts on the grid of the tiles."""
    first = image.isel({d: slice(0, 1) for d in "tz" if d in image.dims})
    y, x = centre(first.sizes["y"], first.sizes["x"], crop, grid=32)
    return first.isel(y=y, x=x)
