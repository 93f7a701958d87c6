"""Run what can be run here: bioimageio.core, ONNX Runtime, TorchScript, ilastik's own path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .job import job_of
from .outcomes import Outcome, outcome_of
from .package import Package
from .weights_files import libtorch_schemas

Job = dict[str, Any]
Runner = Callable[[Job], dict[str, Any]]


def run_all(package: Package) -> list[Outcome]:
    """Run everything that is installed.

    Returns
    -------
    list of Outcome
        One for each engine; what could not be run is there too, with its reason.
    """
    from .probe import core, records
    from .probe.engines import run_engine

    script = ("fiji", "ilastik", "core", "qupath")
    runs: list[tuple[str, tuple[str, ...], Runner]] = [
        ("bioimageio test", ("core", "zoo"), core.run_test),
        ("ilastik's way through bioimageio.core", ("ilastik",), core.run_ilastik),
        ("ONNX Runtime", ("core", "zoo"), run_onnx),
        ("TorchScript", script, lambda job: run_engine(job, "torchscript")),
        ("TorchScript's operators", ("fiji",), run_operators),
    ]
    done = []
    with job_of(package) as job:
        for what, consumers, runner in runs:
            record = records.attempt(what, lambda runner=runner: runner(job))  # type: ignore[misc]
            done.append(outcome_of(record, what, consumers))
    absent = {"fiji": "Fiji", "ilastik": "ilastik", "qupath": "QuPath"}
    for consumer, program in absent.items():
        detail = "it is a desktop program that cannot be started from here"
        done.append(Outcome(f"{program} itself", (consumer,), "not run", detail))
    online = Outcome("BioEngine", ("zoo",), "not run", "it runs on the zoo's servers")
    return [*done, online]


def run_onnx(job: Job) -> dict[str, Any]:
    """Run the ONNX file on the test tensors."""
    from .probe.engines import run_engine

    record = run_engine(job, "onnx")
    return record | {"detail": f"{record['detail']}; Fiji has ONNX Runtime 1.12 or 1.13"}


def run_operators(job: Job) -> dict[str, Any]:
    """Compare all operators of the TorchScript file, overloads included, with old libtorch.

    Raises
    ------
    RuntimeError
        If old libtorch does not know one.
    """
    from .probe.compare import NotRun, weights_of

    source = weights_of(job, "torchscript")
    import torch

    module = torch.jit.load(source, map_location="cpu")
    try:
        used = set(torch.jit.export_opnames(module))
    except RuntimeError as error:  # it cannot list those of modules with a context manager
        reason = str(error).splitlines()[0]
        raise NotRun(
            f"torch cannot list them ({reason}); the rules read the code instead"
        ) from error
    unknown = sorted(used - libtorch_schemas())
    if unknown:
        raise RuntimeError(f"libtorch 1.13.1 and 2.0.0 do not both know {', '.join(unknown)}")
    return {"detail": f"libtorch 1.13.1 and 2.0.0 know all {len(used)}"}
