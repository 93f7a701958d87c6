"""The network alone, its noise and the whole sampler, as calls in every engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import MissingDependency, UserError
from ..runtime.backends import onnx_backend, onnx_runner, torch_backend, torchscript_backend
from .subject import Subject, network_onnx
from .timing import Part

#: Engines of one pass, as people call them; the whole sampler runs in the last three.
ENGINES = {
    "channels_last": "PyTorch, channels last",
    "compiled": "PyTorch, compiled",
    "cuda_graph": "PyTorch, CUDA graph",
    "bfloat16": "PyTorch, bfloat16",
    "bfloat16_graph": "PyTorch, bfloat16, CUDA graph",
    "eager": "PyTorch",
    "torchscript": "TorchScript",
    "onnx": "ONNX Runtime",
}


@dataclass
class Parts:
    """Calls to time, and why others are missing.

    Attributes
    ----------
    calls : dict
        Name to call.
    missing : dict
        Name to reason.
    """

    calls: dict[str, Part] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[], Part]) -> None:
        """Make a call, or note in one line why it cannot be made."""
        try:
            call = make()
            call()
        except UserError as error:
            self.missing[name] = error.problem
        except Exception as error:  # a compiler, a driver: whatever fails, the others count
            self.missing[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
        else:
            self.calls[name] = call


def quiet(call: Callable[[], object]) -> Part:
    """Return the call without gradients."""

    def run() -> object:
        with torch.inference_mode():
            return call()

    return run


def pass_parts(subject: Subject, side: int, device: str, compiled: bool, folder: Path) -> Parts:
    """Return one bare pass through the network in every engine, called after `ENGINES`."""
    parts = Parts()
    inputs = tuple(t.to(device) for t in subject.bare_inputs(side, subject.per_pass))
    if subject.sampler is None:
        for name in ("eager", "channels_last", "compiled"):
            parts.missing[name] = "a package holds no PyTorch module of ours"
    else:
        _eager_parts(parts, subject.sampler.unet, inputs, device, compiled)
    scripted = subject.scripted_on(device).unet
    parts.add("torchscript", lambda: quiet(lambda: scripted(*inputs)))
    parts.add(
        "onnx", lambda: onnx_call(subject.scripted.unet, inputs, folder / "pass.onnx", device)
    )
    return parts


def _eager_parts(
    parts: Parts, unet: nn.Module, inputs: tuple[Tensor, ...], device: str, compiled: bool
) -> None:
    plain = copy.deepcopy(unet).to(device)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = [t.contiguous(memory_format=torch.channels_last) for t in inputs[:2]]
    parts.add("eager", lambda: quiet(lambda: plain(*inputs)))
    parts.add("channels_last", lambda: quiet(lambda: last(*images, inputs[2])))
    if compiled:
        fast = torch.compile(copy.deepcopy(plain))
        parts.add("compiled", lambda: quiet(lambda: fast(*inputs)))
    else:
        parts.missing["compiled"] = "not asked for (--compile)"
    if torch.device(device).type == "cuda":
        from ..runtime.accelerate import graphed, in_bfloat16

        half = in_bfloat16(last)
        parts.add("bfloat16", lambda: quiet(lambda: half(*inputs)))
        for name, network in (("cuda_graph", last), ("bfloat16_graph", half)):
            replay = graphed(network, inputs)
            parts.add(name, partial(quiet, partial(replay, *inputs)))


def onnx_call(network: nn.Module, inputs: tuple[Tensor, ...], path: Path, device: str) -> Part:
    """Write a network as ONNX and return its call."""
    cpu = tuple(t.cpu() for t in inputs)
    run = onnx_runner(network_onnx(network, cpu, path), device)
    arrays = [t.numpy() for t in cpu]
    return lambda: run(*arrays)


class _Noise(nn.Module):
    """The generator as a network of its own."""

    def __init__(self, noise: nn.Module, channels: int) -> None:
        super().__init__()
        self.noise, self.channels = noise, channels

    def forward(self, places: Tensor, draws: Tensor) -> Tensor:
        return self.noise(places, draws, 1, self.channels)


def noise_parts(subject: Subject, side: int, device: str, folder: Path) -> Parts:
    """Return the noise of one step for one pass, as "torchscript" and "onnx"."""
    parts = Parts()
    noise = subject.scripted_on(device).noise
    places = torch.randint(-(2**62), 2**62, (1, 1, side, side))
    draws = torch.arange(subject.per_pass)
    channels = subject.out_channels
    there = places.to(device), draws.to(device)
    parts.add("torchscript", lambda: quiet(lambda: noise(*there, 1, channels)))
    module = _Noise(subject.scripted.noise, channels)
    parts.add("onnx", lambda: onnx_call(module, (places, draws), folder / "noise.onnx", device))
    return parts


def photons(channels: int, side: int) -> np.ndarray:
    """Return a made-up noisy image: (1, C, Y, X) float32, in counts."""
    return np.random.default_rng(0).poisson(20, (1, channels, side, side)).astype(np.float32)


def graph_parts(subject: Subject, side: int, device: str) -> Parts:
    """Return the whole sampler on one tile: "eager", "torchscript" and "onnx"."""
    parts = Parts()
    image = photons(subject.in_channels, side)
    if subject.sampler is None:
        parts.missing["eager"] = "a package holds no PyTorch module of ours"
    else:
        eager = torch_backend(copy.deepcopy(subject.sampler), device)
        parts.add("eager", lambda: lambda: eager(image))
    script = torchscript_backend(subject.files["torchscript"], device)
    parts.add("torchscript", lambda: lambda: script(image))
    if "onnx" not in subject.files:
        parts.missing["onnx"] = "the package has no ONNX weights"
        return parts
    try:
        onnx = onnx_backend(subject.files["onnx"], device)
    except MissingDependency as error:
        parts.missing["onnx"] = error.problem
    else:
        parts.add("onnx", lambda: lambda: onnx(image))
    return parts
