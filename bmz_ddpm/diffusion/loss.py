"""The training objective."""

from __future__ import annotations

import torch
from torch import Tensor

from .denoiser import Denoiser
from .schedule import Prediction


def draw_alpha_bar(
    alpha_bar: Tensor, batch: int, generator: torch.Generator, noisier: float = 0.5
) -> Tensor:
    """Draw (B,) float64 noise levels, continuous between neighbouring steps.

    t is uniform on each half of 1..T, then log(SNR) is uniform between step t and step t − 1, so
    the trained network accepts any spacing of the steps, the first and the last one included.
    (WaveGrad and the paper's code draw alpha_bar itself uniformly, which never comes near T.)

    Parameters
    ----------
    alpha_bar : (T + 1,) float64
        `Schedule.alpha_bar`.
    noisier : float
        Share of the draws from the noisier half of the steps, where the network sees little but
        the microscope image and which decide what the average of many samples looks like;
        0.5 draws all steps alike, as the paper does.

    References
    ----------
    Chen et al. (2021), WaveGrad, section 2.2. arXiv:2009.00713.
    """
    log_snr = torch.logit(alpha_bar[1:])
    half = len(log_snr) // 2
    above = torch.rand(batch, generator=generator) < noisier
    within = torch.rand(batch, generator=generator)
    t = torch.where(above, half + within * (len(log_snr) - half), within * half).long()
    t = t.clamp(max=len(log_snr) - 1)  # the product can round up
    share = torch.rand(batch, generator=generator, dtype=torch.float64)
    before = log_snr[(t - 1).clamp(min=0)]  # step 0 has no noise at all: stay at step 1
    return torch.sigmoid(log_snr[t] + share * (before - log_snr[t]))


def diffusion_loss(
    denoiser: Denoiser,
    x0: Tensor,
    cond: Tensor,
    alpha_bar: Tensor,
    eps: Tensor,
    prediction: Prediction,
) -> Tensor:
    """Return the mean squared error of the prediction.

    Parameters
    ----------
    x0, cond : (B, C, Y, X) float32
        Clean image and microscope image, in model units.
    alpha_bar : (B,) float64
        Noise level of each image.
    eps : (B, C, Y, X) float32
        Unit normal noise.
    prediction : "eps", "v" or "x0"

    References
    ----------
    The paper, eqs. 1 and 3. v: Salimans, Ho (2022), section 4.
    """
    signal = alpha_bar.sqrt().float()[:, None, None, None]
    noise = (1 - alpha_bar).sqrt().float()[:, None, None, None]
    x_t = signal * x0 + noise * eps
    target = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]
    return torch.nn.functional.mse_loss(denoiser(x_t, cond, alpha_bar), target)
