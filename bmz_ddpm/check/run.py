"""Run what can be run here: bioimageio.core, ONNX Runtime, TorchScript, ilastik's own path."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .package import Package, mapping
from .weights_files import libtorch_schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

State = Literal["passed", "failed", "not run"]


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
    """

    what: str
    consumers: tuple[str, ...]
    state: State
    detail: str


class _NotRun(Exception):
    """Something is missing here; the package may still be good."""


def run_all(package: Package) -> list[Outcome]:
    """Run everything that is installed.

    Returns
    -------
    list of Outcome
        One for each engine; what could not be run is there too, with its reason.
    """
    done = [
        _attempt("bioimageio test", ("core", "zoo"), run_core, package),
        _attempt("ilastik's way through bioimageio.core", ("ilastik",), run_ilastik, package),
        _attempt("ONNX Runtime", ("core", "zoo"), run_onnx, package),
        _attempt("TorchScript", ("fiji", "ilastik", "core", "qupath"), run_torchscript, package),
    ]
    absent = {"fiji": "Fiji", "ilastik": "ilastik", "qupath": "QuPath"}
    for consumer, program in absent.items():
        detail = "it is a desktop program that cannot be started from here"
        done.append(Outcome(f"{program} itself", (consumer,), "not run", detail))
    online = Outcome("BioEngine", ("zoo",), "not run", "it runs on the zoo's servers")
    return [*done, online]


def _attempt(
    what: str, consumers: tuple[str, ...], test: Callable[[Package], str], package: Package
) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Outcome(what, consumers, "passed", test(package))
    except _NotRun as reason:
        return Outcome(what, consumers, "not run", str(reason))
    except ImportError as error:
        return Outcome(what, consumers, "not run", f"{error.name or error} is not installed")
    except Exception as error:  # whatever an engine throws is the answer
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(what, consumers, "failed", text[:500])


def run_core(package: Package) -> str:
    """Test all weights formats with bioimageio.core, from the first to the last."""
    from bioimageio.core import __version__, test_description

    with _unpacked_path(package) as path:
        summary = test_description(str(path), stop_early=False)
    _require_passed(summary)
    return f"all weights formats agree with the test tensors (bioimageio.core {__version__})"


def _require_passed(summary: Any) -> None:
    """Raise what a test of bioimageio.core found."""
    if summary.status != "passed":
        errors = [
            f"{'.'.join(map(str, e.loc))}: {e.msg}" for d in summary.details for e in d.errors
        ]
        raise RuntimeError("; ".join(errors) or f"status {summary.status}")


def run_ilastik(package: Package) -> str:
    """Repack, load and predict as ilastik does."""
    if not {"torchscript", "pytorch_state_dict"} & set(package.weights):
        raise _NotRun("the package has no weights for it")
    from bioimageio.core import create_prediction_pipeline, test_description
    from bioimageio.core.digest_spec import get_test_input_sample
    from bioimageio.spec import load_model_description
    from bioimageio.spec import save_bioimageio_package_to_stream as save

    with _unpacked_path(package) as path, tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        stream = save(str(path), weights_priority_order=("torchscript", "pytorch_state_dict"))
        stream.seek(0)
        repacked = Path(name) / "ilastik.zip"
        repacked.write_bytes(stream.read())
        model: Any = load_model_description(str(repacked), perform_io_checks=False)
        sample = get_test_input_sample(model)
        with create_prediction_pipeline(model) as pipeline:
            result = pipeline.predict_sample_without_blocking(sample)
        _require_passed(test_description(str(repacked), stop_early=False))
    shapes = [f"{k} {tuple(v.data.shape)}" for k, v in result.members.items()]
    return f"repacked, loaded, tested and predicted: {', '.join(shapes)}"


def run_onnx(package: Package) -> str:
    """Run the ONNX file on the test tensors."""
    data = package.weights_file("onnx")
    if data is None:
        raise _NotRun("the package has no onnx weights")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(data, options, providers=providers)
    names = [i.name for i in session.get_inputs()]
    inputs = _test_inputs(package)
    if len(names) != len(inputs):
        raise ValueError(f"the file has {len(names)} inputs, rdf.yaml names {len(inputs)}")
    results = session.run(None, dict(zip(names, inputs, strict=True)))
    version = onnxruntime.__version__
    return _described(package, results) + f" in ONNX Runtime {version} (Fiji has 1.12 or 1.13)"


def run_torchscript(package: Package) -> str:
    """Load the TorchScript file, compare its operators with old libtorch, run it."""
    data = package.weights_file("torchscript")
    if data is None:
        raise _NotRun("the package has no torchscript weights")
    import torch

    module = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    unknown = sorted(set(torch.jit.export_opnames(module)) - libtorch_schemas())
    if unknown:
        raise RuntimeError(f"libtorch 1.13.1 and 2.0.0 do not both know {', '.join(unknown)}")
    with torch.no_grad():
        results = module(*(torch.from_numpy(a) for a in _test_inputs(package)))
    if isinstance(results, torch.Tensor):
        results = (results,)
    seen = _described(package, [r.numpy() for r in results])
    return f"{seen} in torch {torch.__version__}; libtorch 1.13.1 and 2.0.0 know all its operators"


def _test_inputs(package: Package) -> list[np.ndarray]:
    import numpy as np

    arrays = []
    for i, tensor in enumerate(package.inputs):
        source = mapping(tensor.raw.get("test_tensor")).get("source")
        old = package.rdf.get("test_inputs")
        if source is None and isinstance(old, list) and i < len(old):
            source = old[i]
        data = package.read(source) if isinstance(source, str) and "://" not in source else None
        if data is None:
            raise _NotRun(f"{tensor.place} has no test tensor in the package")
        if tensor.processing:
            raise _NotRun(f"{tensor.place} is preprocessed by the programs; see bioimageio test")
        array = np.load(io.BytesIO(data), allow_pickle=False)
        arrays.append(np.ascontiguousarray(array.astype(tensor.dtype)))
    return arrays


def _described(package: Package, results: list[np.ndarray]) -> str:
    import numpy as np

    if len(results) != len(package.outputs):
        count = len(package.outputs)
        raise ValueError(f"the file returns {len(results)} outputs, rdf.yaml names {count}")
    for result, tensor in zip(results, package.outputs, strict=True):
        if not np.isfinite(result).all():
            raise ValueError(f"{tensor.place} holds NaN or infinity")
    shapes = " and ".join(str(tuple(r.shape)) for r in results)
    return f"ran on the test tensors and returned {shapes}"


@contextmanager
def _unpacked_path(package: Package) -> Iterator[Path]:
    """Yield the path that bioimageio.core is given."""
    if package.root.is_dir():
        yield package.root / package.rdf_path
    else:
        yield package.root
