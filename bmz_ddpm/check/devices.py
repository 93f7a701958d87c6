"""Run the weights on a GPU, and compare with the CPU and the test tensors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from .job import job_of
from .outcomes import Outcome, outcome_of
from .package import Package

Job = dict[str, Any]
_CORE_FORMATS = ("pytorch_state_dict", "torchscript")


def require_known(device: str) -> None:
    """Refuse what is no name of a device.

    Raises
    ------
    ConfigError
        If torch does not understand it.
    """
    import torch

    try:
        torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {device}: is no device of torch", "use cuda, cuda:1, mps or cpu"
        ) from error


def run_on_device(package: Package, device: str) -> list[Outcome]:
    """Run the weights on a device, each after one warm-up run.

    Returns
    -------
    list of Outcome
        Without that device: not run, and why.

    Raises
    ------
    ConfigError
        If there is no device of that name.
    """
    from .probe import core, records

    require_known(device)
    torch_users = ("fiji", "ilastik", "core", "qupath")
    runs: list[tuple[str, tuple[str, ...], Callable[[Job], dict[str, Any]]]] = [
        (f"TorchScript on {device}", torch_users, lambda job: _torchscript(job, device)),
        (f"ONNX Runtime on {device}", ("core", "zoo"), lambda job: _onnx(job, device)),
    ]
    for name in _CORE_FORMATS:
        if name in package.weights:

            def through_core(job: Job, name: str = name) -> dict[str, Any]:
                _require_device(device)
                return core.run_core(job, name, device, runs=2)

            what = f"bioimageio.core on {device} ({name})"
            runs.append((what, ("core", "zoo", "ilastik"), through_core))
    done = []
    with job_of(package, strict=True) as job:
        for what, consumers, runner in runs:
            record = records.attempt(what, lambda runner=runner: runner(job))  # type: ignore[misc]
            done.append(outcome_of(record, what, consumers))
    return done


def _require_device(device: str) -> None:
    from ..device import usable_device
    from .probe.compare import NotRun

    try:
        usable_device(device)
    except ConfigError as error:
        name = device.replace("cuda", "CUDA")
        reason = str(error.__cause__).splitlines()[0]
        raise NotRun(f"no {name} device here ({reason})") from error


def _torchscript(job: Job, device: str) -> dict[str, Any]:
    from .probe.compare import inputs_of
    from .probe.engines import load_torchscript

    arrays = inputs_of(job)
    _require_device(device)
    expected = load_torchscript(job, "cpu")(arrays)
    run = load_torchscript(job, device)
    return _timed(job, "torchscript", device, run, arrays, expected)


def _onnx(job: Job, device: str) -> dict[str, Any]:
    from .probe.compare import NotRun, inputs_of
    from .probe.engines import load_onnx

    providers = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
    kind = device.split(":")[0]
    if kind not in providers:
        raise NotRun(f"ONNX Runtime is not tried on {device}")
    arrays = inputs_of(job)
    run = load_onnx(job, providers[kind])
    return _timed(job, "onnx", device, run, arrays, load_onnx(job)(arrays))


def _timed(
    job: Job, weights_format: str, device: str, run: Any, arrays: Any, expected: Any
) -> dict[str, Any]:
    from .probe.compare import compare, in_words

    run(arrays)  # the first run on a GPU compiles and allocates
    start = time.perf_counter()
    results = run(arrays)
    seconds = time.perf_counter() - start
    outputs = compare(job, results, weights_format)
    from_cpu = compare(job, results, weights_format, expected)
    detail = f"{seconds:.2f} s after a warm-up run; {in_words(outputs)}"
    detail += f"; {in_words(from_cpu, 'the CPU')}"
    for output, other in zip(outputs, from_cpu, strict=True):
        output["within"] = output.get("within", True) and other["within"]
    return {
        "engine": f"{weights_format} on {device}",
        "seconds": seconds,
        "outputs": outputs,
        "detail": detail,
    }
