"""What came of the things that were run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["passed", "failed", "not run"]
LABELS = {"torchscript": "TorchScript", "onnx": "ONNX Runtime", "ilastik": "ilastik's way"}


@dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Attributes
    ----------
    what : str
        The engine or program.
    consumers : tuple of str
        Whom it concerns.
    state : "passed", "failed" or "not run"
    detail : str
        The reason, or what was seen.
    counts : bool
        False where a failure does no harm, because the program takes other weights.
    measured : dict
        `engine`, `seconds` and `outputs` as the probe wrote them, where there was a result.
    """

    what: str
    consumers: tuple[str, ...]
    state: State
    detail: str
    counts: bool = True
    measured: Mapping[str, Any] = field(default_factory=dict)


def outcome_of(
    record: Mapping[str, Any], what: str, consumers: tuple[str, ...], counts: bool = True
) -> Outcome:
    """Turn a record of the probe into an outcome."""
    measured = {k: record[k] for k in ("engine", "seconds", "outputs") if k in record}
    return Outcome(what, consumers, record["state"], record["detail"], counts, measured)
