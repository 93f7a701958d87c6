"""One interface to every engine that can run an exported sampler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from ..device import usable_device
from ..errors import CheckpointError, ConfigError, MissingDependency

OUTPUTS = ("denoised", "std", "entropy")
#: What a calibrated model gives besides.
INTERVAL = ("lower", "upper")

#: (B, C, Y, X) float32 counts to the outputs, in the order of `OUTPUTS` and `INTERVAL`.
Backend = Callable[[np.ndarray], tuple[np.ndarray, ...]]


def torch_backend(module: torch.nn.Module, device: str = "cpu") -> Backend:
    """Run an eager or scripted module."""
    module = module.to(usable_device(device))

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(np.ascontiguousarray(image)).to(device))
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)

    return run


def unstacked(backend: Backend, low: float, high: float, num_samples: int) -> Backend:
    """Turn the single output of a `StackedSampler` back into the three of a `DiffusionSampler`.

    Parameters
    ----------
    backend : Backend
        Its output is (B, 3C, Y, X), from 0 to 1.
    low, high : float
        Output range, in counts.
    num_samples : int
    """

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        mean, std, entropy = np.split(backend(image)[0], 3, axis=1)  # each (B, C, Y, X)
        most = np.float32(np.log(num_samples))
        return mean * np.float32(high - low) + low, std * np.float32(high - low), entropy * most

    return run


def torchscript_backend(path: Path, device: str = "cpu") -> Backend:
    """Load a TorchScript file.

    Raises
    ------
    CheckpointError
        If it is missing or not TorchScript.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: does not exist", "name a TorchScript file")
    target = usable_device(device)
    try:
        module = torch.jit.load(str(path), map_location=target)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is not a TorchScript file ({str(error).splitlines()[0]})",
            "is the file complete? export it again",
        ) from error
    return torch_backend(module, device)


def refuse_two_runtimes() -> None:
    """Refuse to run where onnxruntime and onnxruntime-gpu are both installed.

    They unpack into the same folder: which of them answers is a matter of chance.

    Raises
    ------
    ConfigError
    """
    installed = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed.append(metadata.distribution(name))
    if len(installed) == 2:
        raise ConfigError(
            "onnxruntime and onnxruntime-gpu: both are installed, they overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'bmz-ddpm[onnx]' or "
            "'bmz-ddpm[gpu]'",
        )


def onnx_backend(path: Path, device: str = "cpu", threads: int | None = None) -> Backend:
    """Load the ONNX file of a whole sampler; raises what `onnx_runner` does."""
    run = onnx_runner(path, device, threads)
    return lambda image: run(image)


def onnx_runner(
    path: Path, device: str = "cpu", threads: int | None = None
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Load any ONNX file; all its inputs go in, and all its outputs come out, in their order.

    Inputs and outputs are bound: none is copied on a CPU, and each once on a GPU.

    Raises
    ------
    MissingDependency
        If onnxruntime is not installed.
    ConfigError
        If two builds of it are, or it has no CUDA.
    CheckpointError
        If the file is missing or not ONNX.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency("onnxruntime", "onnx", "running an ONNX model") from error
    refuse_two_runtimes()
    if not path.is_file():
        raise CheckpointError(f"{path}: does not exist", "name an ONNX file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()  # one per core
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ConfigError(
                f"--device {device}: the installed onnxruntime has no CUDA provider",
                "pip uninstall onnxruntime, then pip install 'bmz-ddpm[gpu]'",
            )
        providers.insert(0, "CUDAExecutionProvider")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has no public base class for its errors
        raise CheckpointError(
            f"{path}: is not a working ONNX file ({str(error).splitlines()[0]})",
            "is the file complete? export it again",
        ) from error
    inputs = [i.name for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]

    def run(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        binding = session.io_binding()
        for name, array in zip(inputs, arrays, strict=True):
            kept = np.float32 if array.dtype.kind == "f" else array.dtype
            binding.bind_cpu_input(name, np.ascontiguousarray(array, kept))
        for name in outputs:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        return tuple(binding.copy_outputs_to_cpu())

    return run
