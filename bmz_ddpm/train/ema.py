"""Power-function averages of the weights, and other widths of them after the training.

References
----------
Karras et al. (2024), sections 3.1 and 3.2, appendix C. arXiv:2312.02696.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

#: (gamma, step): the average after `step` steps in which step t counts as t^gamma.
Profile = tuple[float, int]


def gamma_of_width(sigma_rel: float) -> float:
    """Return the exponent gamma whose average has relative width `sigma_rel`; 0 gives infinity.

    Solves sigma_rel = sqrt((gamma + 1) / ((gamma + 2)² (gamma + 3))), the positive real root.
    """
    if sigma_rel == 0:
        return math.inf
    s = sigma_rel**-2
    return float(np.roots([1, 7, 16 - s, 12 - s]).real.max())


class PowerAverage:
    """Average of all weights so far, in which step t counts as t^gamma.

    Unlike an exponential average it forgets its start at any length of training.

    Parameters
    ----------
    model : nn.Module
        Copied; buffers are taken as they are.
    sigma_rel : float
        Width of the average as a share of the training so far; 0 is no average, the weights
        themselves.
    """

    def __init__(self, model: nn.Module, sigma_rel: float) -> None:
        self.gamma = gamma_of_width(sigma_rel)
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (1, 2, …)."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        state = model.state_dict()
        torch._foreach_lerp_(
            list(self.weights.values()), [state[k] for k in self.weights], 1 - beta
        )


def combination(kept: Sequence[Profile], wanted: Profile) -> tuple[np.ndarray, float]:
    """Return how much of each kept average makes up a wanted one.

    Least squares between the profiles, which are power functions up to their step and zero
    after it; their inner products are closed.

    Parameters
    ----------
    kept : sequence of (gamma, step)
    wanted : (gamma, step)

    Returns
    -------
    (len(kept),) float64
        Coefficients; they sum to 1.
    error : float
        Distance of the two profiles as a share of the wanted one's length: 0 is exact.
    """
    gram = np.array([[_overlap(a, b) for b in kept] for a in kept])
    target = np.array([_overlap(a, wanted) for a in kept])
    length = _overlap(wanted, wanted)
    # scaled to unit diagonal: the profiles' lengths differ by orders of magnitude
    scale = 1 / np.sqrt(np.diag(gram))
    found = np.linalg.lstsq(gram * np.outer(scale, scale), target * scale, rcond=1e-12)[0] * scale
    found /= found.sum()
    distance = length - 2 * found @ target + found @ gram @ found
    return found, math.sqrt(max(distance, 0) / length)


def _overlap(a: Profile, b: Profile) -> float:
    """Return the integral of both profiles (g + 1) s^g / t^(g + 1) from 0 to the earlier t."""
    (ga, ta), (gb, tb) = a, b
    logarithm = (ga + gb + 1) * math.log(min(ta, tb))
    logarithm -= (ga + 1) * math.log(ta) + (gb + 1) * math.log(tb)
    return (ga + 1) * (gb + 1) / (ga + gb + 1) * math.exp(logarithm)
