"""The numbers for other programs: one tidy CSV, and everything as JSON."""

from __future__ import annotations

import csv
import json
from io import StringIO
from math import isfinite
from typing import Any

from .. import __version__
from ..evaluate.statistics import FEWEST_FIELDS
from .pictures import Gallery
from .table import Column, Comparison
from .words import too_few, verdict

FORMAT = "bmz-ddpm comparison 1"
HEADER = (
    "method", "metric", "unit", "median", "images", "fields", "best", "against", "mood_p", "stars",
    "difference", "low", "high", "wilcoxon_p", "remark",
)  # fmt: skip


def entries(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one mapping per method and measure, with the names of `HEADER`."""
    return [
        _entry(comparison, column, i)
        for column in comparison.columns
        for i in range(len(comparison.names))
    ]


def _entry(comparison: Comparison, column: Column, i: int) -> dict[str, Any]:
    cell, present = column.cells[i], i in column.present
    fields = len(set(column.fields.tolist()))
    paired, mood = cell.paired, cell.mood
    against = None if column.against is None else comparison.names[column.against]
    return {
        "method": comparison.names[i],
        "metric": column.measure.key,
        "unit": column.measure.unit,
        "median": cell.median if present else None,
        "images": len(column.items) if present else 0,
        "fields": fields if present else 0,
        "best": cell.best,
        "against": against if paired else None,
        "mood_p": mood.p if mood else None,
        "stars": mood.stars if mood else "",
        "difference": paired.difference if paired else None,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "wilcoxon_p": paired.p if paired else None,
        "remark": too_few(fields) if paired and fields < FEWEST_FIELDS else "",
    }


def to_csv(comparison: Comparison) -> str:
    """Return the table; what there is no value for is empty."""
    stream = StringIO()
    writer = csv.DictWriter(stream, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries(comparison))
    return stream.getvalue()


def to_json(comparison: Comparison, gallery: Gallery, files: list[str]) -> str:
    """Return everything; NaN is null, and infinity is a word, because JSON knows neither.

    Parameters
    ----------
    comparison : Comparison
    gallery : Gallery
    files : list of str
        All files of the report.
    """
    content = {
        "format": FORMAT,
        "version": __version__,
        "files": files,
        "verdict": verdict(comparison),
        "images": comparison.images,
        "fields": comparison.fields,
        "left_out": comparison.left_out,
        "methods": [
            {
                "method": e.name,
                "model": e.about.model.model_dump() if e.about.model else None,
                "settings": e.about.settings,
                "seconds_per_megapixel": e.about.seconds_per_megapixel,
                "peak": e.about.peak,
                "overconfidence": e.law.overconfidence if e.law else None,
                "notes": e.about.notes,
                "failed": [f.model_dump() for f in e.about.failed],
            }
            for e in comparison.evaluations
        ],
        "results": entries(comparison),
        "pictures": [{"image": p.title, "why": p.why} for p in gallery.pictures],
        "notes": comparison.notes,
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None if value != value else "infinite" if value > 0 else "-infinite"
    return value
