"""A report as text, as JSON and as one HTML page."""

from __future__ import annotations

import html
import json
from typing import Any

from .findings import CONSUMERS, Finding
from .verdict import Report, Verdict

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; color: #222; }
section { border-left: 6px solid #2a7d4f; padding: 0 0 0 1em; margin: 1.5em 0; }
section.no { border-color: #b3261e; }
h2 { font-size: 1.1em; margin: 0; } .fix { color: #444; } ul { margin: .3em 0; }
"""


def headline(verdict: Verdict) -> str:
    """Return "runs" or "does not run", and how sure that is."""
    if not verdict.runs:
        return "does not run"
    return "runs" if not verdict.warnings else f"runs, with {_count(len(verdict.warnings))}"


def _count(number: int) -> str:
    return "1 warning" if number == 1 else f"{number} warnings"


def _lines(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return (kind, message, fix) of everything below a headline."""

    def of(kind: str, findings: list[Finding]) -> list[tuple[str, str, str]]:
        return [(kind, f"{f.message} [{f.rule}]", f.fix) for f in findings]

    found = of("because", verdict.blocking)
    found += [(o.state, f"{o.what}: {o.detail}", "") for o in verdict.outcomes]
    found += of("warning", verdict.warnings)
    return found + [("note", note, "") for note in verdict.notes]


def to_text(report: Report) -> str:
    """Return the report for a terminal."""
    out = [f"{report.name} ({report.package})"]
    for verdict in report.verdicts:
        aside = "" if verdict.counts else " (not counted)"
        out += ["", f"{CONSUMERS[verdict.consumer]}: {headline(verdict)}{aside}"]
        for kind, message, fix in _lines(verdict):
            out.append(f"  {kind}: {message}")
            if fix:
                out.append(f"    fix: {fix}")
    return "\n".join([*out, "", _basis(report)])


def _basis(report: Report) -> str:
    if report.was_run:
        return f"{report.rules} rules were applied, and the weights were run where it says so."
    return f"{report.rules} rules were applied. Nothing was run: add --run to run the weights."


def to_dict(report: Report) -> dict[str, Any]:
    """Return the report as plain lists and mappings."""

    def finding(each: Finding, consumer: str) -> dict[str, str]:
        return {
            "rule": each.rule,
            "severity": each.severity[consumer],
            "message": each.message,
            "fix": each.fix,
        }

    return {
        "package": report.package,
        "name": report.name,
        "passed": report.passed,
        "rules": report.rules,
        "was_run": report.was_run,
        "consumers": {
            v.consumer: {
                "runs": v.runs,
                "counts": v.counts,
                "findings": [finding(f, v.consumer) for f in v.findings],
                "run": [{"what": o.what, "state": o.state, "detail": o.detail} for o in v.outcomes],
                "notes": v.notes,
            }
            for v in report.verdicts
        },
    }


def to_json(report: Report) -> str:
    """Return the report for other programs."""
    return json.dumps(to_dict(report), indent=2, ensure_ascii=False) + "\n"


def to_html(report: Report) -> str:
    """Return the report as one page that needs no other file; all text is escaped."""
    title = html.escape(report.name)
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1><p>{html.escape(report.package)}</p>",
    ]
    for verdict in report.verdicts:
        mark = "yes" if verdict.runs else "no"
        aside = "" if verdict.counts else " (not counted)"
        head = html.escape(f"{CONSUMERS[verdict.consumer]}: {headline(verdict)}{aside}")
        parts.append(f'<section class="{mark}"><h2>{head}</h2><ul>')
        for kind, message, fix in _lines(verdict):
            mend = f'<br><span class="fix">Fix: {html.escape(fix)}</span>' if fix else ""
            parts.append(f"<li><b>{kind}</b>: {html.escape(message)}{mend}</li>")
        parts.append("</ul></section>")
    parts.append(f"<p>{html.escape(_basis(report))}</p></body></html>")
    return "\n".join(parts) + "\n"
