"""bioimageio.core: its test, its prediction, and the way that ilastik takes through it."""

from __future__ import annotations

import inspect
import os
import tempfile
import time
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from .blocks import mirrored, predict_by_blocks
from .compare import Job, NotRun, compare, in_words, version_of

#: Formats that ilastik repacks, in its order.
ILASTIK_WEIGHTS: Any = ("torchscript", "pytorch_state_dict")


def run_test(job: Job) -> dict[str, Any]:
    """Test with bioimageio.core, to the last format; those without an engine here are left out."""
    from bioimageio.core import test_description

    formats = runnable(job)
    left_out = [f for f in job["formats"] if f not in formats]
    if not formats:
        raise NotRun(f"no engine for {', '.join(left_out) or 'its weights'} is installed")
    start = time.perf_counter()
    for name in formats if left_out else [None]:
        chosen: Any = name
        require_passed(test_description(job["package"], weight_format=chosen, stop_early=False))
    seconds = time.perf_counter() - start
    engine = f"bioimageio.core {metadata.version('bioimageio.core')}"
    which = ", ".join(formats) if left_out else "all weights formats"
    detail = f"{which} agree with the test tensors ({engine}, {seconds:.0f} s)"
    if left_out:
        detail += f"; no engine for {', '.join(left_out)} is installed"
    return {"engine": engine, "seconds": seconds, "detail": detail}


def runnable(job: Job) -> list[str]:
    """Return the formats for which there is an engine here."""
    modules = {"pytorch_state_dict": "torch", "torchscript": "torch", "onnx": "onnxruntime"}
    modules |= dict.fromkeys(("keras_hdf5", "tensorflow_saved_model_bundle"), "tensorflow")
    return [f for f in job["formats"] if f in modules and find_spec(modules[f])]


def require_passed(summary: Any) -> None:
    """Raise what a test of bioimageio.core found.

    Raises
    ------
    RuntimeError
        With all its messages.
    """
    if summary.status != "passed":
        errors = [
            f"{'.'.join(map(str, e.loc))}: {e.msg}" for d in summary.details for e in d.errors
        ]
        raise RuntimeError("; ".join(errors) or f"status {summary.status}")


def run_core(
    job: Job, weights_format: str, device: str | None = None, runs: int = 1
) -> dict[str, Any]:
    """Predict the test input with bioimageio.core and one weights format; time the last run."""
    if weights_format not in runnable(job):
        raise NotRun(f"no engine for {weights_format} is installed")
    from bioimageio.core import create_prediction_pipeline, load_model_description
    from bioimageio.core.digest_spec import get_test_input_sample

    model: Any = load_model_description(job["package"], perform_io_checks=False)
    devices = [device] if device else None
    chosen: Any = weights_format
    with create_prediction_pipeline(model, weight_format=chosen, devices=devices) as pipeline:
        for _ in range(runs):
            sample = get_test_input_sample(model)  # preprocessing changes it
            start = time.perf_counter()
            result = predict_as_is(pipeline, sample)
            seconds = time.perf_counter() - start
    outputs = compare(job, _arrays(job, result), weights_format)
    engine = f"bioimageio.core {metadata.version('bioimageio.core')}, {_runtime(weights_format)}"
    detail = f"predicted the test input in {engine}, {seconds:.1f} s; {in_words(outputs)}"
    return {"engine": engine, "seconds": seconds, "outputs": outputs, "detail": detail}


def predict_as_is(pipeline: Any, sample: Any) -> Any:
    """Predict a sample in its own size; from 0.10.4 on core would add the halo around it."""
    known = inspect.signature(pipeline.predict_sample_without_blocking).parameters
    flags = [f for f in ("skip_input_padding", "skip_output_cropping") if f in known]
    return pipeline.predict_sample_without_blocking(sample, **dict.fromkeys(flags, True))


def _runtime(weights_format: str) -> str:
    module = {"onnx": "onnxruntime", "torchscript": "torch", "pytorch_state_dict": "torch"}
    name = module.get(weights_format, "tensorflow")
    return f"{name} {version_of(name)}"


def _arrays(job: Job, sample: Any) -> list[Any]:
    members = {str(key): value for key, value in sample.members.items()}
    return [np.asarray(members[o["id"]].data.data) for o in job["outputs"]]


def run_ilastik(job: Job) -> dict[str, Any]:
    """Repack, load, test and predict as ilastik does; then by blocks, as tiktorch is fed."""
    if not set(ILASTIK_WEIGHTS) & set(job["formats"]):
        raise NotRun("the package has no weights for it")
    from bioimageio.core import create_prediction_pipeline, load_model_description, test_description
    from bioimageio.core.digest_spec import get_test_input_sample
    from bioimageio.spec import save_bioimageio_package_to_stream as save

    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as folder:
        stream = save(job["package"], weights_priority_order=ILASTIK_WEIGHTS)
        stream.seek(0)
        repacked = os.path.join(folder, "ilastik.zip")
        with open(repacked, "wb") as file:
            file.write(stream.read())
        model: Any = load_model_description(repacked, perform_io_checks=False)
        require_passed(test_description(repacked, stop_early=False))
        with create_prediction_pipeline(model) as pipeline:
            sample = get_test_input_sample(model)
            start = time.perf_counter()
            result = predict_as_is(pipeline, sample)
            seconds = time.perf_counter() - start
            outputs = compare(job, _arrays(job, result), ILASTIK_WEIGHTS[0])
            blocks = _core_blocks(job, pipeline, get_test_input_sample(model))
    engine = f"bioimageio.core {metadata.version('bioimageio.core')}, {_runtime('torchscript')}"
    detail = f"repacked, loaded, tested and predicted in {engine}; {in_words(outputs)}; {blocks}"
    return {"engine": engine, "seconds": seconds, "outputs": outputs, "detail": detail}


def _core_blocks(job: Job, pipeline: Any, sample: Any) -> str:
    plan = job["blocks"]
    if not isinstance(plan, dict):
        return f"no blocks were tried: {plan}"
    ((member, tensor),) = sample.members.items()
    axes = [str(d) for d in tensor.dims]

    def predict(block: Any) -> list[Any]:
        made = type(tensor).from_numpy(block, dims=tensor.dims)
        one = type(sample)(members={member: made}, stat={}, id="block")
        return _arrays(job, predict_as_is(pipeline, one))

    image = mirrored(np.asarray(tensor.data.data), axes, plan["image"])
    count, _ = predict_by_blocks(predict, image, axes, plan, [o["axes"] for o in job["outputs"]])
    size, tile = (" x ".join(map(str, plan[key])) for key in ("image", "tile"))
    return f"{count} blocks of {tile} pixels cover an image of {size}, all values are finite"
