"""Write the whole report into a folder, which appears only when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from ..evaluate.averaging import SQUARED_ERROR
from . import charts as draw
from .calibration import calibration_curve
from .drawing import drawing, inline, require_matplotlib, to_svg
from .evaluations import read_evaluations
from .measures import measure_of
from .page import Charts, to_html
from .panels import figure_of
from .pictures import Gallery, make_gallery
from .results import FORMAT, to_csv, to_json
from .table import Comparison, compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, TABLE, RESULTS, FIGURES = "report.html", "table.csv", "results.json", "figures"


def write_report(
    arguments: list[str],
    out: Path,
    against: str | None = None,
    pictures: int = 4,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Comparison, list[Path]]:
    """Compare evaluations and write page, tables and figures.

    Parameters
    ----------
    arguments : list of str
        Folders that ``bmz-ddpm evaluate`` wrote, or ``NAME=FOLDER``; the first is one's own
        method.
    out : Path
        Folder of the report; an older report there is replaced.
    against : str, optional
        Method to which all are compared; by default the best of each measure.
    pictures : int
        Images to show.
    seed : int
        Of the bootstrap.
    say : callable
        Gets lines about the progress.

    Returns
    -------
    Comparison, list of Path
        What was found; page, table and results.

    Raises
    ------
    DataError
        If an evaluation cannot be read, or `out` holds something else than a report.
    ConfigError
        If `against` is the name of none.
    MissingDependency
        If matplotlib is not installed.
    """
    require_matplotlib()
    _refuse_foreign(out)
    comparison = compare(*read_evaluations(arguments), against, seed)
    say("reading images")
    gallery = make_gallery(comparison, pictures)
    comparison.notes += dict.fromkeys(gallery.notes)
    say("drawing")
    files = _contents(comparison, gallery)
    replace_folder(out, files)
    return comparison, [out / name for name in (PAGE, TABLE, RESULTS)]


def _contents(comparison: Comparison, gallery: Gallery) -> dict[str, str]:
    """Return all files of the report by name."""
    files: dict[str, str] = {}

    def keep(name: str, figure: Figure, describe: str) -> str:
        svg = to_svg(figure)
        files[f"{FIGURES}/{name}.svg"] = svg
        return inline(svg, name, describe)

    with drawing():
        charts = _draw(comparison, gallery, keep)
        page = to_html(comparison, gallery, charts)
    files |= {PAGE: page, TABLE: to_csv(comparison)}
    files[RESULTS] = to_json(comparison, gallery, [*sorted(files), RESULTS])
    return files


def _draw(
    comparison: Comparison, gallery: Gallery, keep: Callable[[str, Figure, str], str]
) -> Charts:
    charts, names = Charts(), comparison.names
    for k, column in enumerate(comparison.columns):
        label = _plain(column.measure.key) or str(k)
        figure = draw.distribution(column, names)
        said = "Distribution of this measure for every method"
        charts.distributions.append(keep(f"distribution-{label}", figure, said))
    keys = dict.fromkeys(key for e in comparison.evaluations for key in e.averaging)
    keys.pop(SQUARED_ERROR, None)  # shown as PSNR
    for k, key in enumerate(keys):
        curves = [
            (i, e.name, e.averaging[key])
            for i, e in enumerate(comparison.evaluations)
            if e.averaging.get(key)
        ]
        if curves:
            figure = draw.averaging(measure_of(key), curves)
            said = "This measure against the number of averaged samples"
            charts.averaging.append(keep(f"averaging-{_plain(key) or k}", figure, said))
    for k, picture in enumerate(gallery.pictures, 1):
        for strip in picture.strips:
            keep(f"{strip.kind}-{k}", figure_of(strip), "")
        if picture.lines:
            figure = draw.profiles(picture.lines, picture.truth, picture.step, picture.unit)
            charts.profiles.append(keep(f"profile-{k}", figure, "Line profiles of all methods"))
        else:
            charts.profiles.append("")
    if gallery.pixels:
        calibration = [(i, names[i], *calibration_curve(p)) for i, p in gallery.pixels.items()]
        said = "Error found against error promised by the std map"
        charts.calibration = keep("spread-skill", draw.spread_skill(calibration), said)
    return charts


def _plain(key: str) -> str:
    """Return the letters and digits of a measure's name, for the name of a file."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in key).strip("-")


def _refuse_foreign(out: Path) -> None:
    """Refuse a place where something would be lost."""
    if out.exists() and not out.is_dir():
        raise DataError(
            f"{out}: is a file, expected a folder for the report", "choose another --out"
        )
    held = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir())
    if not held:
        return
    try:
        content = json.loads((out / RESULTS).read_text(encoding="utf-8"))
        ours = set(content["files"]) if content["format"] == FORMAT else set()
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    foreign = [name for name in held if name not in ours]
    if foreign:
        raise DataError(
            f"{out}: holds {foreign[0]}, which is no part of a report of bmz-ddpm",
            "choose another --out, or move it away",
        )


def replace_folder(out: Path, files: dict[str, str]) -> None:
    """Write all files into a folder beside `out`, then put it in its place.

    Parameters
    ----------
    out : Path
        What was there is replaced.
    files : dict of str to str
        Contents by name.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to; what was there is unchanged.
    """
    out = Path(os.path.abspath(out))
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        new, old = part / "new", part / "old"
        (new / FIGURES).mkdir(parents=True)
        for name, text in files.items():
            with (new / name).open("wb") as stream:
                stream.write(text.encode("utf-8", "replace"))
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    except OSError as error:
        if part is not None and (part / "old").exists() and not out.exists():
            os.replace(part / "old", out)
        raise DataError(
            f"{out}: could not be written ({error.strerror})",
            "free some space or choose another --out, then repeat",
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
