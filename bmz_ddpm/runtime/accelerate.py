"""A sampler, faster on a GPU: samples batched, channels last, bfloat16, as a CUDA graph."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..diffusion.assemble import largest_divisor
from ..diffusion.sampler import DiffusionSampler

#: Rounded to bfloat16, a sampler's results may differ by this share of the output range.
TOLERANCE = 2e-3

Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def cuda_memory(call: Callable[[], object]) -> int:
    """Return the bytes that a call needs on the GPU at most, besides what is there already."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before


def batched(
    sampler: DiffusionSampler,
    image: Tensor,
    limit: int,
    memory: Callable[[Callable[[], object]], int] = cuda_memory,
) -> DiffusionSampler:
    """Return a copy of a sampler that computes as many samples together as memory allows.

    The result is the same within rounding. One step with one and with two samples is measured;
    each further sample needs as much as the second.

    Parameters
    ----------
    sampler : DiffusionSampler
        It is not changed.
    image : (B, C, Y, X) float32
        In counts: a typical tile.
    limit : int
        Bytes allowed.
    memory : callable
        Returns the bytes that a call needs.
    """
    draws = sampler.draws.flatten()

    def needed(samples: int) -> int:
        short = _copied(sampler)
        short.draws = draws[None, :samples]
        short.coefficients, short.modulation = sampler.coefficients[:1], sampler.modulation[:1]
        return memory(lambda: short(image))

    made = _copied(sampler)
    if len(draws) > 1:
        one, two = needed(1), needed(2)
        most = 1 + (limit - one) // max(two - one, 1)
        made.draws = draws.reshape(-1, largest_divisor(len(draws), most))
    return made


def _copied(sampler: DiffusionSampler) -> DiffusionSampler:
    """Return a copy that shares all tensors and parts, each of which can be replaced."""
    made = copy.copy(sampler)
    made._modules, made._buffers = dict(sampler._modules), dict(sampler._buffers)
    return made


class HalfWidth(nn.Module):
    """A network whose activations and weights are bfloat16; what goes in and out is float32.

    The sampler's own arithmetic stays in float32: there, rounding would be amplified.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(torch.bfloat16)

    def forward(self, x_t: Tensor, cond: Tensor, modulation: Tensor) -> Tensor:
        """Map float32 (B, C, Y, X) to float32 (B, C, Y, X)."""
        half = (t.to(torch.bfloat16) for t in (x_t, cond, modulation))
        return self.network(*half).float()


def in_bfloat16(network: nn.Module) -> HalfWidth:
    """Return a copy of the network that computes in bfloat16."""
    return HalfWidth(network).eval()


def graphed(network: nn.Module, inputs: tuple[Tensor, ...]) -> Network:
    """Record one pass as a CUDA graph and return its replay, for inputs of the same shapes.

    Parameters
    ----------
    network : Module
        On the GPU.
    inputs : tuple of Tensor
        On the GPU; their values do not matter.
    """
    kept = tuple(t.clone() for t in inputs)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.inference_mode():
        for _ in range(3):  # lets the libraries choose their kernels before anything is recorded
            network(*kept)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        result = network(*kept)

    def replay(*new: Tensor) -> Tensor:
        for old, value in zip(kept, new, strict=True):
            old.copy_(value)
        graph.replay()
        return result

    return replay


class _Replaced(nn.Module):
    """A network with other numbers of pixels or samples recorded as they come."""

    def __init__(
        self, network: nn.Module, record: Callable[[nn.Module, tuple[Tensor, ...]], Network]
    ) -> None:
        super().__init__()
        self.network, self.record = network, record
        self.multiple = network.multiple
        self.recorded: dict[tuple[torch.Size, ...], Network] = {}

    def forward(self, x_t: Tensor, cond: Tensor, modulation: Tensor) -> Tensor:
        """Predict, by the recording for inputs of these shapes."""
        inputs = (x_t, cond, modulation)
        shapes = tuple(t.shape for t in inputs)
        if shapes not in self.recorded:
            self.recorded[shapes] = self.record(self.network, inputs)
        return self.recorded[shapes](*inputs)


def accelerated(
    sampler: DiffusionSampler, image: Tensor, record: Callable[..., Network] = graphed
) -> DiffusionSampler:
    """Return a copy of a sampler on a GPU that runs as fast as this module knows how.

    bfloat16 is used if the result on `image` stays within `TOLERANCE` of float32.

    Parameters
    ----------
    sampler : DiffusionSampler
        On the GPU. It is not changed.
    image : (B, C, Y, X) float32
        In counts, on the GPU: a typical tile.
    record : callable
        Records a pass; CUDA graphs unless a test says otherwise.
    """
    reference = sampler(image)[0]
    span = float(sampler.intensity[5] - sampler.intensity[4])

    def variant(network: nn.Module) -> DiffusionSampler:
        made = _copied(sampler)
        made.unet = _Replaced(network, record)  # type: ignore[assignment]
        return made

    last = copy.deepcopy(sampler.unet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    half = in_bfloat16(last)
    half.multiple = sampler.unet.multiple
    fast = variant(half)
    if float((fast(image)[0] - reference).abs().max()) <= TOLERANCE * span:
        return fast
    return variant(last)
