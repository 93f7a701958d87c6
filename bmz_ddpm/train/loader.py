"""Batches with their noise, drawn while the previous step is computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import TrainConfig
from ..data.pairs import Pair
from ..data.patches import PatchSource
from ..diffusion.loss import draw_alpha_bar, visited_levels
from ..diffusion.schedule import Schedule


def patch_source(pairs: list[Pair], config: TrainConfig) -> PatchSource:
    """Load the training pairs as the settings say."""
    return PatchSource(
        pairs,
        config.patch,
        config.augment,
        config.seed,
        units=config.units,
        match=config.match_intensity,
        crops=config.crops,
        shuffle=config.shuffle,
        batch_size=config.batch_size,
        samples=config.steps * config.batch_size,
    )


@dataclass(frozen=True)
class NoisyBatch:
    """What one process needs for one step.

    Attributes
    ----------
    cond, x0, eps : (B, C, Y, X) float32
        Microscope and clean patches in model units, unit normal noise.
    weight : (B, 1, Y, X) float32
        0 where the clean patch is invalid.
    alpha_bar : (B,) float64
        Noise levels.
    names : tuple of str
        The noisy images.
    """

    cond: Tensor
    x0: Tensor
    eps: Tensor
    weight: Tensor
    alpha_bar: Tensor
    names: tuple[str, ...]

    def parts(self, count: int, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
        """Yield cond, x0, eps, weight and alpha_bar in equal parts, on a device."""
        tensors = (self.cond, self.x0, self.eps, self.weight, self.alpha_bar)
        for part in zip(*(t.chunk(count) for t in tensors), strict=True):
            yield tuple(t.to(device, non_blocking=True) for t in part)


class Loader:
    """Draws this process's share of every step, one step ahead, in a thread.

    Parameters
    ----------
    source : PatchSource
    config : TrainConfig
    rank, processes : int
        Number of this process, and of all.
    """

    def __init__(
        self, source: PatchSource, config: TrainConfig, rank: int = 0, processes: int = 1
    ) -> None:
        self.source, self.config = source, config
        self.size = config.batch_size // processes
        self.first = rank * self.size
        schedule = Schedule(config.num_train_steps, config.schedule_offset)
        self.alpha_bar = torch.from_numpy(schedule.alpha_bar())
        if config.noise_levels == "visited":
            self.alpha_bar = visited_levels(schedule, config.validation_steps)
        self._thread = ThreadPoolExecutor(1, "patches")
        self._ahead: dict[int, Future[NoisyBatch]] = {}

    def take(self, step: int) -> NoisyBatch:
        """Return the batch of a step, and begin with the next one."""
        now = self._ahead.pop(step, None) or self._thread.submit(self.draw, step)
        self._ahead = {}
        if step < self.config.steps:
            self._ahead[step + 1] = self._thread.submit(self.draw, step + 1)
        return now.result()

    def draw(self, step: int) -> NoisyBatch:
        """Draw the batch of a step."""
        batch = self.source.batch(step, self.size, self.first)
        uniform = torch.stack(
            [torch.rand(3, generator=g, dtype=torch.float64) for g in batch.generators]
        )
        eps = [torch.randn(batch.x0.shape[1:], generator=g) for g in batch.generators]
        level = draw_alpha_bar(
            self.alpha_bar, uniform, self.config.noise_levels, self.config.noisier
        )
        return NoisyBatch(batch.cond, batch.x0, torch.stack(eps), batch.weight, level, batch.names)
