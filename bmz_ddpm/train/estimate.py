"""What a run will need, before it is started: parameters, memory, time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ..config import TrainConfig
from ..device import usable_device
from ..diffusion.denoiser import SIZES, Denoiser
from ..diffusion.loss import diffusion_loss
from .averages import SNAPSHOT_WIDTHS
from .engine import half_precision

#: A measured step does at most this many operations: seconds on one core.
LARGEST_PROBE = 1e11
REPEATS = 3


@dataclass(frozen=True)
class Estimate:
    """What a run needs on one device.

    Attributes
    ----------
    parameters : int
    weights, optimiser, activations : int
        Bytes: weights with gradients and averages, the optimiser's two moments, and what one step
        keeps for its backward pass. Counted, not measured; workspaces and images come on top.
    operations : float
        Floating-point operations of one step. Counted.
    seconds : float
        Of the whole run without validations: some bare steps (forward, backward, optimiser) on
        the device, scaled by their operations.
    probe : str
        What was measured.
    """

    parameters: int
    weights: int
    optimiser: int
    activations: int
    operations: float
    seconds: float
    probe: str

    def lines(self) -> list[str]:
        """Say it in three lines."""
        memory = self.weights + self.optimiser + self.activations
        parts = [self.weights, self.optimiser, self.activations]
        weights, optimiser, activations = (f"{part / 2**20:,.0f} MiB" for part in parts)
        minutes = round(self.seconds / 60)
        return [
            f"{self.parameters / 1e6:.2f} million parameters",
            f"{memory / 2**20:,.0f} MiB of memory and the images (counted: weights, gradients and "
            f"averages {weights}, optimiser {optimiser}, activations of one step {activations})",
            f"{minutes // 60}:{minutes % 60:02} hours without validations (from {self.probe})",
        ]


def estimate(config: TrainConfig, channels: tuple[int, int], device: str) -> Estimate:
    """Count the memory of a step and measure how fast this device computes.

    Parameters
    ----------
    config : TrainConfig
    channels : (int, int)
        Of the microscope image and of the clean image.
    device : str

    Raises
    ------
    ConfigError
        If the device cannot be used.
    """
    kind = usable_device(device)
    low = half_precision(config, kind)
    size = config.batch_size // config.accumulate
    with FakeTensorMode():
        activations, operations = _count(config, channels, size, config.patch, low)
    operations *= config.accumulate
    # the largest step that is quick: fewer patches first, then smaller ones
    probe, patch, needed = size, config.patch, operations / config.accumulate
    while needed > LARGEST_PROBE and (probe > 1 or patch > 32):
        if probe > 1:
            probe, needed = probe // 2, needed / 2
        else:
            patch, needed = max(32, patch // 32 * 16), needed / 4
    with FakeTensorMode():
        _, measured = _count(config, channels, probe, patch, low)
    passes, update = _measure(config, channels, probe, patch, kind, low)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in _denoiser(config, channels).parameters())
    averages = len({config.ema, *(SNAPSHOT_WIDTHS if config.snapshots else ())})
    return Estimate(
        parameters,
        4 * parameters * (2 + averages),
        8 * parameters,
        activations,
        operations,
        (passes * operations / measured + update) * config.steps,
        f"{REPEATS} measured steps, batch {probe}, {patch} x {patch} pixels, "
        f"{passes + update:.2f} s each",
    )


def _denoiser(config: TrainConfig, channels: tuple[int, int]) -> Denoiser:
    return Denoiser(*channels, SIZES[config.size], config.label)


def _step(
    denoiser: Denoiser, config: TrainConfig, channels: tuple[int, int], size: int, patch: int
) -> Tensor:
    """Return the loss of a batch of random numbers."""
    where = next(denoiser.parameters()).device
    cond = torch.randn(size, channels[0], patch, patch, device=where)
    x0 = torch.randn(size, channels[1], patch, patch, device=where)
    level = torch.full((size,), 0.5, dtype=torch.float64, device=where)
    return diffusion_loss(denoiser, x0, cond, level, x0, config.prediction, loss=config.loss)


def _count(
    config: TrainConfig, channels: tuple[int, int], size: int, patch: int, low: bool
) -> tuple[int, float]:
    """Return the bytes kept for the backward pass, and the operations, of one step."""
    denoiser = _denoiser(config, channels).train()
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that its number stays its own
        return tensor

    counter = FlopCounterMode(display=False)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with counter:
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = _step(denoiser, config, channels, size, patch)
        loss.backward()
    weights = {p.untyped_storage()._cdata for p in denoiser.parameters()}
    held = sum(storage.nbytes() for number, storage in kept.items() if number not in weights)
    return held, float(counter.get_total_flops())


def _measure(
    config: TrainConfig,
    channels: tuple[int, int],
    size: int,
    patch: int,
    device: torch.device,
    low: bool,
) -> tuple[float, float]:
    """Return the seconds of forward and backward, and of the update, of one step.

    The medians of three, after one step to warm up.
    """
    denoiser = _denoiser(config, channels).to(device).train()
    optimiser = torch.optim.AdamW(denoiser.parameters())
    passes, updates = [], []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss = _step(denoiser, config, channels, size, patch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        loss.item()  # waits for the device
        between = time.perf_counter()
        optimiser.step()
        denoiser.renormalise_()
        float(denoiser.out_gain.detach())
        passes.append(between - start)
        updates.append(time.perf_counter() - between)
    return sorted(passes[1:])[REPEATS // 2], sorted(updates[1:])[REPEATS // 2]
