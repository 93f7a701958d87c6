"""The fastest way to run a sampler here: ONNX Runtime on a CPU, CUDA graphs on a GPU."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..device import usable_device
from ..diffusion.one_pass import OnePass
from ..diffusion.sampler import DiffusionSampler
from ..runtime.accelerate import accelerated
from ..runtime.backends import Backend, onnx_backend, torch_backend
from .onnx import save_onnx
from .torchscript import to_torchscript

#: Converting takes a few seconds, which this many passes through the network per tile win back.
WORTH = 32


def fastest_backend(module: DiffusionSampler | OnePass, device: str) -> tuple[Backend, str]:
    """Return a backend and the name of its engine, "onnx" or "eager".

    Parameters
    ----------
    module : DiffusionSampler or OnePass
        On the CPU.
    device : "cpu", "cuda" …

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    if isinstance(module, OnePass):
        return torch_backend(module, device), "eager"
    if module.coefficients.shape[0] * module.draws.numel() < WORTH:
        return torch_backend(module, device), "eager"
    if torch.device(device).type == "cuda":
        return _on_gpu(module, device), "eager"
    if device == "cpu" and find_spec("onnxruntime") is not None:
        with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
            path = Path(name) / "weights.onnx"
            save_onnx(to_torchscript(module), module.in_channels, path)
            return onnx_backend(path), "onnx"  # the session keeps no hold of its file
    return torch_backend(module, device), "eager"


def _on_gpu(module: DiffusionSampler, device: str) -> Backend:
    """Record the network when the first tile shows its size, and judge bfloat16 on it."""
    ready: list[Backend] = []
    module = module.to(usable_device(device))

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        if not ready:
            with torch.inference_mode():
                tile = torch.from_numpy(np.ascontiguousarray(image)).to(device)
                ready.append(torch_backend(accelerated(module, tile), device))
        return ready[0](image)

    return run
