"""libtorch and ONNX Runtime, called directly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .compare import Job, NotRun, compare, in_words, inputs_of, version_of, weights_of

Engine = Callable[[Sequence[Any]], list[Any]]


def load_torchscript(job: Job, device: str) -> Engine:
    """Load the TorchScript file on the CPU, move it to a device as Fiji does."""
    import torch

    module = torch.jit.load(weights_of(job, "torchscript"), map_location="cpu").eval().to(device)

    def run(arrays: Sequence[Any]) -> list[Any]:
        with torch.no_grad():
            results = module(*(torch.from_numpy(a).to(device) for a in arrays))
        if isinstance(results, torch.Tensor):
            results = (results,)
        return [r.cpu().numpy() for r in results]  # .cpu() waits for the device

    return run


def load_onnx(job: Job, provider: str = "CPUExecutionProvider") -> Engine:
    """Open the ONNX file in ONNX Runtime."""
    source = weights_of(job, "onnx")
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise NotRun(f"onnxruntime {onnxruntime.__version__} has no {provider} here")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # old versions warn of every constant they remove
    session = onnxruntime.InferenceSession(source, options, providers=[provider])
    if provider not in session.get_providers():
        raise NotRun(f"onnxruntime could not start {provider} here")
    names = [i.name for i in session.get_inputs()]

    def run(arrays: Sequence[Any]) -> list[Any]:
        if len(names) != len(arrays):
            raise ValueError(f"the file has {len(names)} inputs, rdf.yaml names {len(arrays)}")
        results: list[Any] = session.run(None, dict(zip(names, arrays, strict=True)))
        return results

    return run


def run_engine(job: Job, weights_format: str) -> dict[str, Any]:
    """Run a weights file in its own engine on the CPU, on the test tensors."""
    arrays = inputs_of(job)
    if weights_format == "torchscript":
        run, package = load_torchscript(job, "cpu"), "torch"
    else:
        run, package = load_onnx(job), "onnxruntime"
    start = time.perf_counter()
    results = run(arrays)
    seconds = time.perf_counter() - start
    outputs = compare(job, results, weights_format)
    engine = f"{package} {version_of(package)}"
    detail = f"ran on the test tensors in {engine}, {seconds:.1f} s; {in_words(outputs)}"
    return {"engine": engine, "seconds": seconds, "outputs": outputs, "detail": detail}
