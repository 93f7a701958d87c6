"""A report as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

from .findings import CONSUMERS, Finding
from .outcomes import Outcome
from .verdict import Report, Verdict


def headline(verdict: Verdict) -> str:
    """Return "runs" or "does not run", and how sure that is."""
    if not verdict.runs:
        return "does not run"
    return "runs" if not verdict.warnings else f"runs, with {_count(len(verdict.warnings))}"


def _count(number: int) -> str:
    return "1 warning" if number == 1 else f"{number} warnings"


def lines_of(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return (kind, message, fix) of everything below a headline."""

    def of(kind: str, findings: list[Finding]) -> list[tuple[str, str, str]]:
        return [(kind, f"{f.message} [{f.rule}]", f.fix) for f in findings]

    found = of("because", verdict.blocking)
    for each in verdict.outcomes:
        aside = "" if each.counts or each.state != "failed" else " (not counted)"
        found.append((each.state + aside, f"{each.what}: {each.detail}", ""))
    found += of("warning", verdict.warnings)
    return found + [("note", note, "") for note in verdict.notes]


def to_text(report: Report) -> str:
    """Return the report for a terminal."""
    out = [f"{report.name} ({report.package})"]
    for verdict in report.verdicts:
        aside = "" if verdict.counts else " (not counted)"
        out += ["", f"{CONSUMERS[verdict.consumer]}: {headline(verdict)}{aside}"]
        for kind, message, fix in lines_of(verdict):
            out.append(f"  {kind}: {message}")
            if fix:
                out.append(f"    fix: {fix}")
    return "\n".join([*out, "", basis(report)])


def basis(report: Report) -> str:
    """Return what the answer rests on."""
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

    def outcome(each: Outcome) -> dict[str, Any]:
        return {
            "what": each.what,
            "state": each.state,
            "detail": each.detail,
            "counts": each.counts,
            **each.measured,
        }

    return {
        "package": report.package,
        "name": report.name,
        "passed": report.passed,
        "rules": report.rules,
        "was_run": report.was_run,
        "made": report.made,
        "version": report.version,
        "consumers": {
            v.consumer: {
                "runs": v.runs,
                "counts": v.counts,
                "findings": [finding(f, v.consumer) for f in v.findings],
                "run": [outcome(o) for o in v.outcomes],
                "notes": v.notes,
            }
            for v in report.verdicts
        },
    }


def to_json(report: Report) -> str:
    """Return the report for other programs."""
    return json.dumps(to_dict(report), indent=2, ensure_ascii=False) + "\n"
