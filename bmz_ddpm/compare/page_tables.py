"""The tables of the page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import groupby

from ..evaluate.statistics import FEWEST_FIELDS
from .drawing import colour
from .evaluations import Evaluation
from .measures import REMARKS
from .table import Cell, Column, Comparison
from .words import count, p_value


def medians(comparison: Comparison) -> list[str]:
    """Return the tables of methods x measures, the best in bold."""
    parts = []
    for title, columns in _tables(comparison.columns):
        parts += [f"<h3>{escape(title)}</h3>", *_table(comparison, columns, _median)]
        for group in dict.fromkeys(c.measure.group for c in columns):
            if group in REMARKS:
                parts.append(f'<p class="aside">{escape(REMARKS[group])}</p>')
    return parts


def differences(comparison: Comparison) -> list[str]:
    """Return the same tables with differences to the reference, intervals and p."""
    parts = []
    judged = [c for c in comparison.columns if c.against is not None]
    for k, (title, columns) in enumerate(_tables(judged)):
        parts += [
            f"<details{' open' if k == 0 else ''}><summary>{escape(title)}</summary>",
            *_table(comparison, columns, _difference),
            "</details>",
        ]
    return parts


def _tables(columns: list[Column]) -> list[tuple[str, list[Column]]]:
    titles = dict.fromkeys(c.measure.table for c in columns)
    return [(title, [c for c in columns if c.measure.table == title]) for title in titles]


def _table(
    comparison: Comparison, columns: list[Column], cell_of: Callable[[Column, int], str]
) -> list[str]:
    first = [
        k == 0 or c.measure.group != columns[k - 1].measure.group for k, c in enumerate(columns)
    ]
    kinds = [' class="first"' if new else "" for new in first]
    groups = "".join(
        f'<th class="first" scope="colgroup" colspan="{len(same)}">{escape(group)}</th>'
        for group, same in ((g, list(s)) for g, s in groupby(columns, lambda c: c.measure.group))
    )
    heads = "".join(
        f'<th scope="col"{kind}>{_head(c)}</th>' for c, kind in zip(columns, kinds, strict=True)
    )
    rows = []
    for i, name in enumerate(comparison.names):
        cells = "".join(cell_of(c, i) for c in columns)
        rows.append(f'<tr><th scope="row">{_key(i)}{escape(name)}</th>{cells}</tr>')
    sizes = "".join(f"<td>{_size(c)}</td>" for c in columns)
    return [
        '<div class="wide"><table class="numbers"><thead>'
        f'<tr class="groups"><td></td>{groups}</tr>'
        f'<tr><th scope="col">Method</th>{heads}</tr></thead><tbody>',
        *rows,
        f'</tbody><tfoot><tr><th scope="row">images / fields</th>{sizes}</tr></tfoot>',
        "</table></div>",
    ]


def _key(method: int) -> str:
    return f'<span class="key" style="background:{colour(method)}"></span>'


def _head(column: Column) -> str:
    measure = column.measure
    unit = f' <span class="unit">({escape(measure.unit)})</span>' if measure.unit else ""
    arrow = f' <span class="arrow">{measure.arrow}</span>' if measure.arrow else ""
    return f"{escape(measure.label)}{unit}{arrow}"


def _size(column: Column) -> str:
    return f"{len(column.items)} / {len(set(column.fields.tolist()))}"


def _median(column: Column, i: int) -> str:
    cell = column.cells[i]
    text = escape(column.measure.text(cell.median))
    text = f"<b>{text}</b>" if cell.best else text
    stars = f'<span class="stars">{cell.mood.stars if cell.mood else ""}</span>'
    return f"<td{_kind(column, i)}>{text}{stars}</td>"


def _kind(column: Column, i: int) -> str:
    if i not in column.present:
        return ' class="none"'
    return ' class="best"' if column.cells[i].best else ""


def _difference(column: Column, i: int) -> str:
    cell = column.cells[i]
    if i == column.against:
        return '<td class="none">reference</td>'
    if i not in column.present or cell.paired is None:
        return '<td class="none">n/a</td>'
    return f"<td>{_supported(column, cell)}</td>"


def _supported(column: Column, cell: Cell) -> str:
    paired, text = cell.paired, column.measure.text
    assert paired is not None
    first = escape(text(paired.difference, sign=True))
    if paired.p is None or paired.low is None or paired.high is None:
        few = "too few fields" if paired.fields < FEWEST_FIELDS else "not finite"
        return f'{first}<br><span class="aside">{few}</span>'
    clear = ' class="clear"' if paired.p < 0.05 else ""
    span = f"{text(paired.low, sign=True)} to {text(paired.high, sign=True)}"
    return (
        f'<span{clear}>{first}</span><br><span class="aside">{escape(span)}<br>'
        f"{escape(p_value(paired.p))}</span>"
    )


def _setting(item: tuple[str, object]) -> str:
    """Return "steps 4"; only the name of what was switched on, nothing for what was not."""
    name, value = item
    name = name.replace("_", " ")
    if value is None or isinstance(value, bool):
        return name if value else ""
    if isinstance(value, list):
        value = " ± ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
    return f"{name} {value}"


def settings(evaluations: list[Evaluation]) -> list[str]:
    """Return how each result was made."""
    rows = []
    for i, evaluation in enumerate(evaluations):
        about = evaluation.about
        model = about.model.name if about.model and about.model.name else "no model"
        sha = about.model.sha256 if about.model else None
        if sha:
            model += f", sha256 {sha[:12]}…"
        used = ", ".join(filter(None, map(_setting, about.settings.items()))) or "none"
        cost = about.seconds_per_megapixel
        speed = "not measured" if cost is None else f"{cost:.3g} s"
        peak = "unknown" if about.peak is None else f"{about.peak:g}"
        rows.append(
            f'<tr><th scope="row">{_key(i)}{escape(evaluation.name)}</th><td>{escape(model)}</td>'
            f"<td>{escape(used)}</td><td>{escape(speed)}</td><td>{escape(peak)}</td>"
            f"<td>{len(evaluation.seen)}</td></tr>"
        )
    return [
        '<div class="wide"><table class="made"><thead><tr><th scope="col">Method</th>'
        '<th scope="col">Model</th><th scope="col">Settings</th>'
        '<th scope="col">Time per megapixel</th><th scope="col">Peak of PSNR</th>'
        '<th scope="col">Images</th></tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def reading(comparison: Comparison) -> str:
    """Return how to read the tables of medians."""
    fixed = {c.against for c in comparison.columns if c.against is not None}
    whom = comparison.names[fixed.pop()] if len(fixed) == 1 else "the best method of each column"
    return (
        f"Medians over {count(comparison.images, 'image')} "
        f"({count(comparison.fields, 'field')} of view; each plane of a stack is an image). "
        "↓ small is good, ↑ large is good, → close to the number is good; the best in bold; n/a: "
        f"not available. Stars: differs from {whom} by Mood’s median test "
        "(* p < .05, ** p < .01, *** p < .001), as in the paper. That test takes all images as "
        "independent; images of the same field are not."
    )
