"""The fastest way to run a sampler here: ONNX Runtime on a CPU, CUDA graphs on a GPU."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..device import usable_device
from ..diffusion.interval import Calibrated
from ..diffusion.one_pass import OnePass
from ..diffusion.sampler import DiffusionSampler
from ..runtime.accelerate import accelerated, batched
from ..runtime.backends import INTERVAL, OUTPUTS, Backend, onnx_backend, torch_backend
from ..runtime.position import PlacedBackend
from .onnx import save_onnx
from .torchscript import Module, to_torchscript

#: Converting takes a few seconds, which this many passes through the network per tile win back.
WORTH = 32


def fastest_backend(module: nn.Module, device: str, fill: bool = False) -> tuple[Backend, str]:
    """Return a backend and the name of its engine, "onnx" or "eager".

    Parameters
    ----------
    module : DiffusionSampler, OnePass, or either of them calibrated
        On the CPU.
    device : "cpu", "cuda" …
    fill : bool
        On a GPU, compute as many samples together as fit into half of the free memory. On a CPU
        one at a time is as fast.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    inner: Any = module.sampler if isinstance(module, Calibrated) else module
    if isinstance(inner, OnePass) or inner.coefficients.shape[0] * inner.draws.numel() < WORTH:
        return PlacedBackend(module, device), "eager"
    if usable_device(device).type == "cuda" and isinstance(module, DiffusionSampler):
        return _on_gpu(module, device, fill), "eager"
    if device == "cpu" and find_spec("onnxruntime") is not None:
        names = (*OUTPUTS, *INTERVAL) if isinstance(module, Calibrated) else OUTPUTS
        with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
            path = Path(name) / "weights.onnx"
            scripted = to_torchscript(cast(Module, module))
            save_onnx(scripted, inner.in_channels, path, names)
            return onnx_backend(path), "onnx"  # the session keeps no hold of its file
    return PlacedBackend(module, device), "eager"


def _on_gpu(module: DiffusionSampler, device: str, fill: bool) -> Backend:
    """Record the network when the first tile shows its size, and judge bfloat16 on it."""
    ready: list[Backend] = []
    module = module.to(usable_device(device))

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        if not ready:
            with torch.inference_mode():
                tile = torch.from_numpy(np.ascontiguousarray(image)).to(device)
                filled = module
                if fill:
                    filled = batched(module, tile, torch.cuda.mem_get_info(device)[0] // 2)
                ready.append(torch_backend(accelerated(filled, tile), device))
        return ready[0](image)

    return run
