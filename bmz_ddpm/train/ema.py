"""Power-function average of the weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def gamma_of_width(sigma_rel: float) -> float:
    """Return the exponent gamma whose average has relative width `sigma_rel`.

    Solves sigma_rel = sqrt((gamma + 1) / ((gamma + 2)² (gamma + 3))), the positive real root.

    References
    ----------
    Karras et al. (2024), section 3.1 and appendix C. arXiv:2312.02696.
    """
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
        Width of the average as a share of the training so far.
    """

    def __init__(self, model: nn.Module, sigma_rel: float) -> None:
        self.gamma = gamma_of_width(sigma_rel)
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (1, 2, …)."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - beta)
