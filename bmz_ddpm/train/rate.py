"""The learning rate of each step."""

from __future__ import annotations

import math

from ..config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then cosine annealing: once to zero over the run, or up and down in cycles.

    References
    ----------
    Loshchilov, Hutter (2017), eq. 5, without its restarts: the cosine goes on. arXiv:1608.03983.
    """
    if step <= config.warmup and config.steps > 2 * config.warmup:
        return config.learning_rate * step / config.warmup
    length = config.steps if config.annealing == "once" else config.cycle_steps
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / length))
