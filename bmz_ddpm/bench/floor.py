"""How fast could it be? Operations and bytes of one pass, and what this device can do at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .timing import interleaved


@dataclass(frozen=True)
class Work:
    """What one pass has to do.

    Attributes
    ----------
    flops : float
        A multiplication and an addition are two.
    bytes : float
        Weights read once, and the inputs and outputs of every convolution and product: what is
        left where everything between them is fused.
    """

    flops: float
    bytes: float


def count_work(network: nn.Module, inputs: tuple[Tensor, ...]) -> Work:
    """Count the work of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    moved = 0.0

    def hook(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal moved
        tensors = [*given, result, *module.parameters(recurse=False)]
        moved += sum(t.numel() * t.element_size() for t in tensors)

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Work(float(counter.get_total_flops()), moved)


@dataclass(frozen=True)
class Ceiling:
    """What the device did at most, measured here.

    Attributes
    ----------
    flops : float
        Per second, in a product of large matrices.
    bytes : float
        Per second, copying a large array: read and written.
    """

    flops: float
    bytes: float

    def floor(self, work: Work) -> float:
        """Return the seconds below which this device cannot do the work."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


def measure_ceiling(
    device: str,
    dtype: torch.dtype = torch.float32,
    size: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Ceiling:
    """Multiply matrices and copy memory; the fastest of five counts."""
    gpu = torch.device(device).type == "cuda"
    size = size or (8192 if gpu else 1536)
    a = torch.randn(size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    source = torch.ones(64 * size * size // 16, device=device)
    target = torch.empty_like(source)
    wait = torch.cuda.synchronize if gpu else (lambda: None)
    parts = {"product": lambda: torch.mm(a, a, out=out), "copy": lambda: target.copy_(source)}
    seconds = {k: min(v) for k, v in interleaved(parts, 5, clock, wait).items()}
    moved = 2 * source.numel() * source.element_size()
    return Ceiling(2 * size**3 / seconds["product"], moved / seconds["copy"])
