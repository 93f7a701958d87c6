"""Trained denoiser + sampler settings = the module that is run and exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..config import Intensity
from .denoiser import Denoiser
from .sampler import DiffusionSampler
from .schedule import Prediction, Schedule, Spacing, step_table


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample.

    Parameters
    ----------
    num_steps : int
        Network passes per sample.
    num_samples : int
        Samples to average.
    eta : float
        1 for the ancestral sampler ("ddpm"), 0 for deterministic steps ("ddim").
    spacing : "log_snr" or "time"
        Which noise levels are visited; see `Schedule.sampled_alpha_bar`.
    mirror : bool
        Draw the samples in the four mirror images of the tile in turn, and mirror them back: the
        network's preference for one direction then averages out too, at no cost.
    seed : int
        Same seed, same image.
    samples_per_pass : int
        Memory setting: samples that go through the network together.
    """

    num_steps: int
    num_samples: int
    eta: float
    spacing: Spacing = "log_snr"
    mirror: bool = True
    seed: int = 0
    samples_per_pass: int = 1

    @property
    def batched(self) -> int:
        """The largest divisor of `num_samples` that is at most `samples_per_pass`."""
        limit = max(1, min(self.samples_per_pass, self.num_samples))
        return next(n for n in range(limit, 0, -1) if self.num_samples % n == 0)


@torch.no_grad()
def assemble_sampler(
    denoiser: Denoiser,
    *,
    in_channels: int,
    out_channels: int,
    network: dict[str, Any],
    schedule: Schedule,
    prediction: Prediction,
    intensity: Intensity,
    settings: SamplerSettings,
) -> DiffusionSampler:
    """Fold a trained denoiser into a `DiffusionSampler`.

    Parameters
    ----------
    denoiser : Denoiser
        On the CPU.
    network : dict
        The keyword arguments its U-Net was built with.
    intensity : Intensity
        Constants between counts and model units.

    Returns
    -------
    DiffusionSampler
        In evaluation mode, on the CPU. It shares no memory with `denoiser`.
    """
    plain = {**network, "dropout": 0.0}
    module = DiffusionSampler(
        in_channels,
        out_channels,
        plain,
        settings.num_steps,
        settings.num_samples,
        settings.batched,
    )
    module.unet.load_state_dict(denoiser.folded_state())
    bar = schedule.sampled_alpha_bar(settings.num_steps, settings.spacing)
    module.coefficients.copy_(torch.from_numpy(step_table(bar, prediction, settings.eta)))
    module.modulation.copy_(denoiser.embedding(torch.from_numpy(bar[:-1])))
    module.intensity.copy_(torch.tensor(list(intensity.model_dump().values())))
    module.mirror.fill_(settings.mirror)
    module.noise.configure(settings.seed, intensity.input_scale)
    return module
