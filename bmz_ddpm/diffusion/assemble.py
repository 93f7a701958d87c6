"""Trained denoiser + sampler settings = the module that is run and exported."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Calibration, Intensity
from .denoiser import Denoiser
from .interval import Calibrated
from .one_pass import OnePass
from .sampler import DiffusionSampler
from .schedule import Prediction, Schedule, Spacing, predict_x0, step_table


def largest_divisor(count: int, limit: int) -> int:
    """Return the largest divisor of `count` that is at most `limit`, and at least 1."""
    return next(n for n in range(max(1, min(limit, count)), 0, -1) if count % n == 0)


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
        Memory setting: samples that go through the network together; 0 for one, and as many as
        memory allows where `predict` or `evaluate` run a checkpoint on a GPU.
    one_pass : bool
        The student instead of the sampler: `num_samples` is then how many it stands for, and the
        other settings have no meaning.
    order : 1 or 2
        2 extrapolates from the step before: DPM-Solver++(2M), SDE with `eta` of 1.
    """

    num_steps: int
    num_samples: int
    eta: float
    spacing: Spacing = "log_snr"
    mirror: bool = True
    seed: int = 0
    samples_per_pass: int = 0
    one_pass: bool = False
    order: int = 1

    @property
    def network_passes(self) -> int:
        """How often an image goes through the network."""
        return 1 if self.one_pass else self.num_steps * self.num_samples

    @property
    def batched(self) -> int:
        """The largest divisor of `num_samples` that is at most `samples_per_pass`."""
        return largest_divisor(self.num_samples, self.samples_per_pass)

    @property
    def kind(self) -> dict[str, Any]:
        """What a calibration holds for: everything but the seed and the memory."""
        return {k: v for k, v in asdict(self).items() if k not in ("seed", "samples_per_pass")}


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
    module.coefficients.copy_(
        torch.from_numpy(step_table(bar, prediction, settings.eta, settings.order))
    )
    module.modulation.copy_(denoiser.embedding(torch.from_numpy(bar[:-1])))
    module.intensity.copy_(torch.tensor(list(intensity.model_dump().values())))
    module.mirror.fill_(settings.mirror)
    module.noise.configure(settings.seed, intensity.input_scale)
    return module


@torch.no_grad()
def assemble_one_pass(
    student: Denoiser,
    *,
    in_channels: int,
    out_channels: int,
    network: dict[str, Any],
    schedule: Schedule,
    prediction: Prediction,
    intensity: Intensity,
    num_samples: int,
) -> OnePass:
    """Fold a distilled student into a `OnePass`.

    Parameters
    ----------
    student : Denoiser
        On the CPU, with two statistics.
    network, schedule, prediction, intensity
        Of the model it was distilled from; see `assemble_sampler`.
    num_samples : int
        Samples whose entropy is estimated.

    Returns
    -------
    OnePass
        In evaluation mode, on the CPU. It shares no memory with `student`.
    """
    plain = {**network, "dropout": 0.0, "statistics": 2}
    module = OnePass(in_channels, out_channels, plain, num_samples)
    module.unet.load_state_dict(student.folded_state())
    noisiest = torch.from_numpy(schedule.alpha_bar()[-1:])
    module.net_weight.fill_(noise_only_weight(schedule, prediction))
    module.modulation.copy_(student.embedding(noisiest))
    module.intensity.copy_(torch.tensor(list(intensity.model_dump().values())))
    std = 2.0 ** (torch.arange(len(module.entropies), dtype=torch.float64) / 8 - 4)
    module.entropies.copy_(expected_entropy(std, num_samples))
    return module


def noise_only_weight(schedule: Schedule, prediction: Prediction) -> float:
    """Return the factor of the network's output in x0_hat at the noisiest level, where x_t = 0."""
    return float(predict_x0(schedule.alpha_bar()[-1:], prediction)[1][0])


def expected_entropy(std: Tensor, num_samples: int) -> Tensor:
    """Return the entropy that N normally distributed samples have on average after rounding.

    The entropy over distinct values (the paper, eq. 16) depends on N: it is at most ln N. A value
    with probability p is taken by n of N samples with a binomial probability, and then adds
    −(n/N)·ln(n/N). Means lie anywhere between two integers, so this is averaged over 16 places.

    Parameters
    ----------
    std : (M,) float64
        Standard deviations, in units of the rounding.
    num_samples : int
        N.

    Returns
    -------
    (M,) float64
        In nats.
    """
    n = torch.arange(1, num_samples + 1, dtype=torch.float64)
    gain = -(n / num_samples) * torch.log(n / num_samples)
    ways = torch.lgamma(n.new_tensor(num_samples + 1.0)) - torch.lgamma(n + 1)
    ways = ways - torch.lgamma(num_samples - n + 1)
    phase = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    result = []
    for s in std:
        reach = math.ceil(6 * float(s)) + 1
        edges = torch.arange(-reach, reach + 1) - 0.5 + phase[:, None]  # (16, K)
        p = torch.special.ndtr(edges / s).diff(dim=1).clamp(1e-300, 1 - 1e-16)[..., None]
        chance = torch.exp(ways + n * torch.log(p) + (num_samples - n) * torch.log1p(-p))
        result.append((chance * gain).sum((1, 2)).mean())
    return torch.stack(result)


@torch.no_grad()
def with_intervals(
    sampler: nn.Module, calibration: Calibration, intensity: Intensity
) -> Calibrated:
    """Wrap a module that returns (denoised, std, entropy), so that it returns intervals too."""
    module = Calibrated(sampler)
    constants = (
        calibration.spread,
        *calibration.floor,
        calibration.below,
        calibration.above,
        intensity.low,
        intensity.high,
    )
    module.interval.constants.copy_(torch.tensor(constants))
    return module
