"""The training objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .schedule import Prediction, Schedule

NoiseLevels = Literal["log_snr", "alpha_bar", "discrete", "visited"]
Loss = Literal["mse", "l1"]

#: The highest level that is drawn: at 1 there is no noise, and no log(SNR).
HIGHEST_ALPHA_BAR = 1 - 1e-6


def visited_levels(schedule: Schedule, num_steps: int) -> Tensor:
    """Return (num_steps + 1,) float64: 1, then the levels a sampler visits, noisiest last.

    A network trained on these alone is good for that number of steps only.

    References
    ----------
    Jiang et al. (2024), Fast-DDPM, section 3. arXiv:2405.14802.
    """
    return torch.from_numpy(schedule.sampled_alpha_bar(num_steps, "log_snr")[::-1].copy())


def draw_alpha_bar(
    alpha_bar: Tensor, uniform: Tensor, levels: NoiseLevels = "log_snr", noisier: float = 0.5
) -> Tensor:
    """Turn uniform random numbers into (B,) float64 noise levels.

    t is uniform on each half of 1..T. Then "discrete" takes step t, as the paper's text has it;
    "alpha_bar" draws evenly in alpha_bar between step t and step t − 1, as WaveGrad and the
    paper's code do, which never comes near T; "log_snr" draws evenly in log(SNR), so the trained
    network accepts any spacing of the steps, the first and the last one included.

    Parameters
    ----------
    alpha_bar : (T + 1,) float64
        `Schedule.alpha_bar`.
    uniform : (B, 3) float64
        From 0 to 1: which half, where in it, where between two steps.
    levels : "log_snr", "alpha_bar", "discrete" or "visited"
        "visited" is "discrete" on the few levels that a sampler visits (`visited_levels`).
    noisier : float
        Share of the draws from the noisier half of the steps, where the network sees little but
        the microscope image and which decide what the average of many samples looks like;
        0.5 draws all steps alike, as the paper does.

    References
    ----------
    Chen et al. (2021), WaveGrad, section 2.2. arXiv:2009.00713.
    """
    count = len(alpha_bar) - 1
    half = count // 2
    which, within, share = uniform.unbind(1)
    t = torch.where(which < noisier, half + within * (count - half), within * half).long() + 1
    t = t.clamp(max=count)  # the product can round up
    if levels in ("discrete", "visited"):
        return alpha_bar[t]
    if levels == "alpha_bar":
        between = alpha_bar[t] + share * (alpha_bar[t - 1] - alpha_bar[t])
        return between.clamp(max=HIGHEST_ALPHA_BAR)
    log_snr = torch.logit(alpha_bar)
    before = log_snr[(t - 1).clamp(min=1)]  # step 0 has no noise at all: stay at step 1
    return torch.sigmoid(log_snr[t] + share * (before - log_snr[t]))


def diffusion_loss(
    denoiser: Callable[[Tensor, Tensor, Tensor], Tensor],
    x0: Tensor,
    cond: Tensor,
    alpha_bar: Tensor,
    eps: Tensor,
    prediction: Prediction,
    weight: Tensor | None = None,
    loss: Loss = "mse",
) -> Tensor:
    """Return the mean error of the prediction over all pixels.

    Parameters
    ----------
    denoiser : callable
        A `Denoiser`, or one in the wrapping of several processes.
    x0, cond : (B, C, Y, X) float32
        Clean image and microscope image, in model units.
    alpha_bar : (B,) float64
        Noise level of each image.
    eps : (B, C, Y, X) float32
        Unit normal noise.
    prediction : "eps", "v", "x0" or "flow"
    weight : (B, 1, Y, X) float32, optional
        Factor of each pixel's error. Pixels of weight 0 count as free of error, so the mean over
        parts of a batch is that over the batch.
    loss : "mse" or "l1"
        Squared or absolute error.

    References
    ----------
    The paper, eqs. 1 and 3. v: Salimans, Ho (2022), section 4. flow: Liu, Gong, Liu (2022), eq. 1.
    """
    signal = alpha_bar.sqrt().float()[:, None, None, None]
    noise = (1 - alpha_bar).sqrt().float()[:, None, None, None]
    x_t = signal * x0 + noise * eps
    if prediction == "v":
        target = signal * eps - noise * x0
    elif prediction == "flow":
        target = (eps - x0) / math.sqrt(2)
    else:
        target = eps if prediction == "eps" else x0
    error = denoiser(x_t, cond, alpha_bar) - target  # (B, C, Y, X)
    error = error.square() if loss == "mse" else error.abs()
    return error.mean() if weight is None else (error * weight).mean()
