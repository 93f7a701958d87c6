"""Prepare all pairs of a data set."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path

from .. import __version__
from ..data.pairs import Pair, find_pairs
from ..errors import DataError
from ..files import write_bytes
from .examine import Finding, examine
from .register import load_simpleitk
from .settings import PrepareSettings
from .sheet import Tile, doubtful, draw_tile, sheets
from .store import COLUMNS, Row, folder_when_done, numbers, unique_name, write_pair, write_table

MEASURED = ("shift_y", "shift_x", "rotation", "similarity_before", "similarity_after", "overlap")
REJECTED = ("low", "high", "fov", "split", "reason", *MEASURED)
SHIFTS = ("low", "high", "fov", "split", "verdict", "reason", *MEASURED)


@dataclass
class Prepared:
    """What came of a preparation.

    Attributes
    ----------
    findings : list of Finding
        One per pair.
    files : list of Path
        Tables and contact sheets.
    images : int
        Pairs of files to train on: patches, or whole images.
    left_out : int
        Patches with too little clean data.
    warning : DataError, optional
        Why `bmz-ddpm train` would refuse the result.
    """

    findings: list[Finding] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    images: int = 0
    left_out: int = 0
    warning: DataError | None = None

    @property
    def rejected(self) -> list[Finding]:
        """Pairs that were left out."""
        return [f for f in self.findings if f.rejected]


def prepare(
    pairs: list[Pair],
    settings: PrepareSettings,
    out: Path,
    show: Callable[[int, int, str], None] = lambda done, total, extra: None,
) -> Prepared:
    """Register, judge and cut pairs; write them and a report into a new folder.

    Parameters
    ----------
    pairs : list of Pair
    settings : PrepareSettings
    out : Path
        Does not exist yet, or is empty. It appears when everything is complete.
    show : callable
        Told how many pairs are done, of how many, and how many were rejected.

    Returns
    -------
    Prepared
        Where all pairs were rejected, only the report is written.

    Raises
    ------
    DataError
        If `out` is used already, or the disk is full.
    MissingDependency
        If SimpleITK is needed and not installed.
    """
    if settings.register != "none":
        load_simpleitk()
    done = Prepared()
    rows: list[Row] = []
    tiles: list[Tile] = []
    taken: set[str] = set()
    with folder_when_done(out) as folder:
        for number, pair in enumerate(pairs, 1):
            finding, views = examine(pair, settings)
            if not finding.rejected:
                name = unique_name(finding, taken)
                written, left_out = write_pair(folder, name, finding, settings)
                rows += written
                done.left_out += left_out
                if not written:
                    reason = f"no patch has {settings.min_valid:.0%} valid pixels (--min-valid)"
                    finding = replace(finding, verdict="rejected", reason=reason)
            done.findings.append(finding)
            tiles = doubtful([*tiles, draw_tile(finding, views)])
            show(number, len(pairs), f"({len(done.rejected)} rejected)")
        done.images = len(rows)
        if rows:
            write_table(folder / "pairs.csv", COLUMNS, rows)
            done.warning = _refusal(folder / "pairs.csv")
        _report(folder, done, settings, tiles)
        names = [p.name for p in sorted(folder.iterdir()) if p.is_file()]
    done.files = [out / name for name in sorted(names, key=lambda n: (n != "pairs.csv", n))]
    return done


def _refusal(table: Path) -> DataError | None:
    """Say why the training would refuse the pairs, if it would."""
    try:
        find_pairs(table)
    except DataError as error:
        return error
    return None


def _report(folder: Path, done: Prepared, settings: PrepareSettings, tiles: list[Tile]) -> None:
    write_table(folder / "shifts.csv", SHIFTS, [_line(f, SHIFTS) for f in done.findings])
    write_table(folder / "rejected.csv", REJECTED, [_line(f, REJECTED) for f in done.rejected])
    pictures = sheets(tiles, len(done.findings))
    for i, picture in enumerate(pictures, 1):
        encoded = BytesIO()
        picture.save(encoded, "PNG")
        number = "" if len(pictures) == 1 else f"_{i:02}"
        write_bytes(folder / f"contact_sheet{number}.png", encoded.getbuffer())
    text = json.dumps(summary(done, settings), indent=2, ensure_ascii=False)
    write_bytes(folder / "summary.json", (text + "\n").encode())


def _line(finding: Finding, columns: tuple[str, ...]) -> dict[str, object]:
    pair = finding.pair
    known = {"low": pair.low, "high": pair.high, "fov": pair.fov, "split": pair.split}
    known |= {"verdict": finding.verdict, "reason": finding.reason, "overlap": finding.overlap}
    known |= numbers(finding)
    return {name: known[name] for name in columns}


def summary(done: Prepared, settings: PrepareSettings) -> dict[str, object]:
    """Return the report as plain numbers and words, for JSON."""
    verdicts = [f.verdict for f in done.findings]
    kept = [f for f in done.findings if not f.rejected]

    def middle(values: list[float]) -> float | None:
        return round(statistics.median(values), 4) if values else None

    return {
        "bmz_ddpm": __version__,
        "settings": asdict(settings),
        "pairs": len(verdicts),
        **{name: verdicts.count(name) for name in ("registered", "unchanged", "rejected")},
        "images": done.images,
        "patches_left_out": done.left_out,
        "median_shift_pixels": middle([f.movement.shift for f in kept]),
        "largest_shift_pixels": max((round(f.movement.shift, 4) for f in kept), default=None),
        "median_rotation_degrees": middle([abs(f.movement.rotation) for f in kept]),
        "median_similarity_before": middle([f.before for f in kept]),
        "median_similarity_after": middle([f.after for f in kept]),
        "training_refuses": done.warning.problem if done.warning else None,
        "rejected_pairs": [
            {"low": str(f.pair.low), "high": str(f.pair.high), "reason": f.reason}
            for f in done.rejected
        ],
    }
