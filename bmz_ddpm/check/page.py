"""A report as one HTML page that needs no other file: to send around, and to print."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path

from .findings import CONSUMERS, Finding
from .outcomes import Outcome
from .report import basis, headline
from .verdict import Report, Verdict

#: State of a run to the class and the words of its mark; a sign, for those who see no colour.
_MARKS = {
    "passed": ("yes", "✓ passed"),
    "failed": ("no", "✗ failed"),
    "not run": ("open", "– not run"),
}


def to_html(report: Report) -> str:
    """Return the page; everything that the package says is escaped."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    title = escape(report.name)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}: where it runs</title><style>{style}</style></head><body>",
        f"<h1>Where does “{title}” run?</h1>",
        f'<p class="about">{escape(Path(report.package).resolve().name)} · '
        f"checked {escape(report.made)} with bmz-ddpm {escape(report.version)}</p>",
        *_answer(report),
        *_summary(report.verdicts),
        *_problems(report.verdicts),
        *_runs(report),
        *_notes(report.verdicts),
        "<footer>Fiji, ilastik and QuPath themselves were not started.</footer>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _mark(kind: str, words: str) -> str:
    return f'<span class="mark {kind}">{escape(words)}</span>'


def _programs(names: list[str]) -> str:
    """Return short names: what comes before the bracket."""
    return ", ".join(escape(CONSUMERS[n].split(" (")[0]) for n in names)


def _answer(report: Report) -> list[str]:
    counted = [v for v in report.verdicts if v.counts]
    good = [v.consumer for v in counted if v.runs]
    bad = [v.consumer for v in counted if not v.runs]
    lines = [("Runs in:", good), ("Does not run in:", bad)]
    words = " ".join(f"<b>{head}</b> {_programs(names)}." for head, names in lines if names)
    kind, sign = ("no", "✗") if bad else ("yes", "✓")
    return [
        f'<p class="answer {kind}">{sign} {words}</p>',
        f'<p class="about">{escape(basis(report))}</p>',
    ]


def _summary(verdicts: list[Verdict]) -> list[str]:
    rows = ["<table><thead><tr><th>Program</th><th>Verdict</th><th>Why</th></tr></thead><tbody>"]
    for verdict in verdicts:
        sign, kind = ("✓", "yes") if verdict.runs else ("✗", "no" if verdict.counts else "open")
        if verdict.runs and verdict.warnings:
            sign, kind = "!", "warn"
        aside = "" if verdict.counts else '<br><span class="aside">not counted</span>'
        mark = _mark(kind, f"{sign} {headline(verdict)}")
        program = f"<b>{escape(CONSUMERS[verdict.consumer])}</b>{aside}"
        rows.append(f"<tr><td>{program}</td><td>{mark}</td><td>{_why(verdict)}</td></tr>")
    return [*rows, "</tbody></table>"]


def _why(verdict: Verdict) -> str:
    """Return what breaks it, or what stands behind the good word."""
    bad = [f.message for f in verdict.blocking]
    bad += [f"{o.what} failed" for o in verdict.outcomes if o.state == "failed" and o.counts]
    if bad:
        return f'<ul class="plain">{"".join(f"<li>{escape(line)}</li>" for line in bad)}</ul>'
    passed = [o.what for o in verdict.outcomes if o.state == "passed"]
    known = f"; ran: {', '.join(passed)}" if passed else "; nothing was run for it"
    return f'no rule is broken<span class="aside">{escape(known)}</span>'


def _problems(verdicts: list[Verdict]) -> list[str]:
    """Return every finding once, those that block first."""
    whom: dict[int, list[str]] = {}
    findings: dict[int, Finding] = {}
    for verdict in verdicts:
        for finding in verdict.findings:
            findings[id(finding)] = finding
            whom.setdefault(id(finding), []).append(verdict.consumer)
    if not findings:
        return []

    def concerned(key: int, severity: str) -> list[str]:
        return [n for n in whom[key] if findings[key].severity[n] == severity]

    parts = ["<h2>What to mend</h2>"]
    for key in sorted(findings, key=lambda k: not concerned(k, "blocks")):
        finding, blocked, warned = (
            findings[key],
            concerned(key, "blocks"),
            concerned(key, "warns"),
        )
        words = [f"{_mark('no', '✗ blocks')} {_programs(blocked)}"] if blocked else []
        words += [f"{_mark('warn', '! warns')} {_programs(warned)}"] if warned else []
        parts.append(
            f'<div class="item {"blocks" if blocked else "warns"}"><p class="whom">'
            f"{' '.join(words)}</p><p>{escape(finding.message)}</p>"
            f'<p class="fix"><b>Fix:</b> {escape(finding.fix)} '
            f'<span class="rule">(rule {escape(finding.rule)})</span></p></div>'
        )
    return parts


def _runs(report: Report) -> list[str]:
    whom: dict[int, list[str]] = {}
    outcomes: dict[int, Outcome] = {}
    for verdict in report.verdicts:
        for outcome in verdict.outcomes:
            outcomes[id(outcome)] = outcome
            whom.setdefault(id(outcome), []).append(verdict.consumer)
    parts = ["<h2>What was run, and what was not</h2>"]
    if not outcomes:
        return [*parts, f"<p>{_mark('open', '– nothing')} The answer comes from rules alone.</p>"]
    parts.append(
        '<table class="runs"><thead><tr><th>Run</th><th>Result</th><th>Seen</th></tr>'
        "</thead><tbody>"
    )
    order = list(_MARKS)
    for key in sorted(outcomes, key=lambda k: order.index(outcomes[k].state)):
        outcome = outcomes[key]
        aside = "" if outcome.counts or outcome.state != "failed" else " (not counted)"
        kind, words = _MARKS[outcome.state]
        parts.append(
            f'<tr><td><b>{escape(outcome.what)}</b><br><span class="aside">for '
            f"{_programs(whom[key])}</span></td><td>{_mark(kind, words)}{aside}</td>"
            f"<td>{escape(outcome.detail)}</td></tr>"
        )
    return [*parts, "</tbody></table>"]


def _notes(verdicts: list[Verdict]) -> list[str]:
    parts = []
    for verdict in verdicts:
        if verdict.notes:
            lines = "".join(f"<li>{escape(note)}</li>" for note in verdict.notes)
            parts.append(f"<h3>{escape(CONSUMERS[verdict.consumer])}</h3>")
            parts.append(f'<ul class="plain">{lines}</ul>')
    return ["<h2>What the programs will do</h2>", *parts] if parts else []
