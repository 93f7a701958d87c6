"""The report as one HTML page that needs no other file: light, dark, narrow, wide, on paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from .. import __version__
from ..evaluate.statistics import FEWEST_FIELDS
from . import page_tables
from .panels import RAMP, Strip, data_uri
from .pictures import Gallery, Picture
from .table import Comparison
from .words import averaging_lines, count, ranked, too_few, verdict


@dataclass
class Charts:
    """The charts as SVG for the inside of the page.

    Attributes
    ----------
    distributions, averaging : list of str
    profiles : list of str
        One per picture.
    calibration : str
        Empty without std maps.
    """

    distributions: list[str] = field(default_factory=list)
    averaging: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    calibration: str = ""


def to_html(comparison: Comparison, gallery: Gallery, charts: Charts) -> str:
    """Return the page; every name is escaped."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    names = comparison.names
    title = f"{names[0]} compared with {count(len(names) - 1, 'other method')}"
    sections = [
        ("medians", "Medians", _medians(comparison)),
        ("support", "What the data support", _support(comparison)),
        ("distributions", "Distributions", _distributions(charts)),
        ("images", "Images", _images(gallery, charts)),
        ("averaging", "Averaging samples", _averaging(comparison, charts)),
        ("calibration", "Do the std maps keep their promise?", _calibration(charts)),
        ("made", "How it was made", page_tables.settings(comparison.evaluations)),
        ("notes", "Notes", _notes(comparison)),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{escape(head)}</a>' for key, head, _ in shown)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{style}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">{count(comparison.images, "image")}, '
        f"{count(comparison.fields, 'field')} of view · "
        f"made with bmz-ddpm {escape(__version__)}</p>",
        *_answer(comparison),
        f"<nav>{links}</nav>",
    ]
    for key, head, body in shown:
        parts += [f'<section id="{key}"><h2>{escape(head)}</h2>', *body, "</section>"]
    parts += [
        "<footer>The same numbers: table.csv and results.json beside this page; the figures for a "
        "paper: the folder figures.</footer>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _answer(comparison: Comparison) -> list[str]:
    columns = ranked(comparison)
    won = bool(columns) and all(c.cells[0].best for c in columns) and len(comparison.names) > 1
    lines = "".join(f"<p>{escape(line)}</p>" for line in verdict(comparison))
    return [f'<div class="answer{" won" if won else ""}">{lines}</div>']


def _medians(comparison: Comparison) -> list[str]:
    return [
        f'<p class="aside">{escape(page_tables.reading(comparison))}</p>',
        *page_tables.medians(comparison),
    ]


def _support(comparison: Comparison) -> list[str]:
    if len(comparison.names) == 1:
        return []
    if comparison.fields < FEWEST_FIELDS:
        first = (
            f"Instead of p-values: {too_few(comparison.fields)}. With fewer fields no paired test "
            "can reach p < .05, whatever the images show. The differences themselves:"
        )
    else:
        first = (
            "Below each difference: its 95 % interval, by a bootstrap over fields of view, and p "
            "of a paired Wilcoxon test on the means of the fields. Bold: p < .05. The p-values are "
            "not corrected for the number of comparisons."
        )
    what = "Difference: method minus reference; mean over the fields of the mean of their images."
    return [
        f"<p>{escape(first)}</p>",
        f'<p class="aside">{escape(what)}</p>',
        *page_tables.differences(comparison),
    ]


def _distributions(charts: Charts) -> list[str]:
    said = (
        "Box: the middle half of the images; thin line: 5 to 95 %; points: images (evenly spaced "
        "quantiles if there are many); dashed: the best median. Stars as in the tables."
    )
    return [f'<p class="aside">{said}</p>', *_grid(charts.distributions)]


def _grid(drawings: list[str]) -> list[str]:
    return ['<div class="charts">', *(f"<figure>{d}</figure>" for d in drawings), "</div>"]


def _images(gallery: Gallery, charts: Charts) -> list[str]:
    parts = []
    for picture, profile in zip(gallery.pictures, charts.profiles, strict=True):
        parts.append(f"<h3>{escape(picture.title)}</h3>")
        parts.append(f'<p class="aside">Chosen by rule: {escape(picture.why)}.</p>')
        parts += _strip(picture.strips[0])
        parts += _beside(picture, profile)
    return parts


def _beside(picture: Picture, profile: str) -> list[str]:
    """Lay line profile, errors, side view and uncertainty out in balanced columns."""
    parts = ['<div class="beside">']
    if picture.lines:
        said = "Along the dashed line, the row of the brightest structure."
        parts.append(f'<div><h4>Line profile</h4><p class="aside">{said}</p>')
        parts.append(f"<figure>{profile}</figure></div>")
    for strip in picture.strips[1:]:
        parts += [f"<div><h4>{escape(strip.title)}</h4>", *_strip(strip), "</div>"]
    return [*parts, "</div>"]


def _strip(strip: Strip) -> list[str]:
    parts = [f'<p class="aside">{escape(strip.remark)}</p>']
    colours = strip.scale[0] if strip.scale else "gray"
    parts.append(f'<div class="panels{" side" if strip.kind == "xz" else ""}">')
    for i, panel in enumerate(strip.panels):
        over = ""
        if i == 0 and strip.row is not None:
            over += f'<span class="row" style="top:{strip.row:.2%}"></span>'
        if i == 0 and strip.bar:
            over += f'<span class="bar" style="width:{strip.bar[0]:.2%}"></span>'
        notes = [panel.remark] if panel.remark else []
        if i == 0 and strip.bar:
            notes.append(f"bar: {strip.bar[1]}")
        aside = f'<br><span class="aside">{escape("; ".join(notes))}</span>' if notes else ""
        name = escape(panel.name)
        parts.append(
            f"<figure><figcaption>{name}{aside}</figcaption>"
            f'<div class="frame"><img alt="{escape(strip.title)}: {name}" '
            f'src="{data_uri(panel.pixels, colours)}">{over}</div></figure>'
        )
    parts.append("</div>")
    if strip.scale:
        name, low, high = strip.scale
        parts.append(
            f'<div class="scale"><img alt="colour bar" src="{data_uri(RAMP, name)}">'
            f"<div><span>{escape(low)}</span><span>{escape(high)}</span></div></div>"
        )
    return parts


def _averaging(comparison: Comparison, charts: Charts) -> list[str]:
    if not charts.averaging:
        return []
    lines = [f"<p>{escape(line)}</p>" for line in averaging_lines(comparison)]
    said = (
        "From MSE = B + V / N for an average of N samples: samples of the true posterior have "
        "B = V. The factor is √(B / V)."
    )
    return [*lines, f'<p class="aside">{said}</p>', *_grid(charts.averaging)]


def _calibration(charts: Charts) -> list[str]:
    if not charts.calibration:
        return []
    said = (
        "Pixels of the images above, in classes of similar std. Above the dashed line: the error "
        "is larger than promised, the map is over-confident. Below: it is too careful."
    )
    return [f'<p class="aside">{said}</p>', f"<figure>{charts.calibration}</figure>"]


def _notes(comparison: Comparison) -> list[str]:
    lines, said = list(comparison.notes), dict[str, list[str]]()
    for evaluation in comparison.evaluations:
        for note in evaluation.about.notes:
            said.setdefault(note, []).append(evaluation.name)
    lines += [f"{', '.join(names)}: {note}" for note, names in said.items()]
    for evaluation in comparison.evaluations:
        failed = evaluation.about.failed
        shown = "; ".join(f"{f.image} ({f.reason})" for f in failed[:5])
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        if failed:
            lines.append(f"{evaluation.name}: {count(len(failed), 'image')} failed: {shown}{more}.")
    if not lines:
        return []
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]
