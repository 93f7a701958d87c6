"""What would be sent, as text."""

from __future__ import annotations

from ..check.findings import Finding
from .plan import ALIAS, COLLECTION, Plan


def to_text(plan: Plan, server: str) -> str:
    """Return the plan for a terminal.

    Parameters
    ----------
    plan : Plan
    server : str
    """
    manifest = plan.manifest
    total = sum(len(item.data) for item in plan.items)
    out = [
        f"{manifest.get('name')}, version {manifest.get('version', '(none)')}, "
        f"licence {manifest.get('license')}",
        f"to {server}, collection {COLLECTION}, name {ALIAS}: the server draws it",
        "",
        f"{'bytes':>13}  weight  {'sha256':<64}  file",
    ]
    for item in plan.items:
        out.append(f"{len(item.data):>13,}  {item.weight:>6}  {item.sha256}  {item.name}")
    out.append(f"{total:>13,}  in {len(plan.items)} files")
    if plan.old_id is not None:
        out.append(f"rdf.yaml is sent without its id {plan.old_id}: the zoo gives its own.")
    if plan.left_out:
        out.append(f"Not sent: {', '.join(plan.left_out)}")
    return "\n".join([*out, "", *_checks(plan)])


def _checks(plan: Plan) -> list[str]:
    number = len(plan.stops)
    if number:
        out = [f"Pre-checks: {number} {'stops' if number == 1 else 'stop'} the upload"]
    else:
        out = ["Pre-checks: passed"]
    for kind, findings in (("because", plan.stops), ("warning", plan.warnings)):
        out += [line for finding in findings for line in _lines(kind, finding)]
    return out


def _lines(kind: str, finding: Finding) -> list[str]:
    return [f"  {kind}: {finding.message} [{finding.rule}]", f"    fix: {finding.fix}"]
