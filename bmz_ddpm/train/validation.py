"""How far the denoised validation images are from the clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..data.pairs import Pair
from ..data.planes import Planes, central, load_planes
from ..diffusion.assemble import SamplerSettings
from ..errors import DataError


class Score(NamedTuple):
    """Means over the validation images.

    Attributes
    ----------
    mae : float
        Mean absolute error, in counts.
    psnr : float
        Peak signal-to-noise ratio in dB; the peak is the width of the model's output range.
    """

    mae: float
    psnr: float


def validation_sampler(config: TrainConfig, single: bool = False) -> SamplerSettings:
    """Return the sampler that is validated, or the same drawing a single sample.

    It never has more steps than the model is trained with.
    """
    steps = min(config.validation_steps, config.num_train_steps)
    samples = 1 if single else config.validation_samples
    if config.validation_sampler == "ddpm":
        return SamplerSettings(steps, samples, eta=1.0, spacing="time")
    return SamplerSettings(steps, samples, eta=0.0)


class Validation:
    """The validation images, in memory.

    Parameters
    ----------
    pairs : list of Pair
        Those to validate on.
    config : TrainConfig
    channels : (int, int)
        Of the training pairs, in and out.

    Raises
    ------
    DataError
        If a pair cannot be read, has other channels or nothing valid where it is looked at.
    """

    def __init__(self, pairs: list[Pair], config: TrainConfig, channels: tuple[int, int]) -> None:
        self.fields: list[Planes] = []
        for pair in pairs:
            planes = load_planes(pair, config.match_intensity)
            found = planes.low.shape[1], planes.high.shape[1]
            if found != channels:
                raise DataError(
                    f"{pair.low}: has {found[0]} channels in and {found[1]} out, the training "
                    f"pairs have {channels[0]} and {channels[1]}",
                    "give all pairs the same channels",
                )
            part = central(planes, config.validation_crop, config.validation_planes)
            if part.mask is not None and not part.mask.any():
                raise DataError(
                    f"{pair.mask}: is zero in the part that is validated",
                    "leave this pair out, or set validation_crop = 0 for whole images",
                )
            self.fields.append(part)

    @torch.no_grad()
    def score(
        self,
        sampler: nn.Module,
        span: float,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        total: Callable[[Tensor], Tensor] = lambda errors: errors,
    ) -> Score:
        """Denoise all images and compare.

        Parameters
        ----------
        sampler : nn.Module
            (B, C, Y, X) counts to a tuple whose first is the same, denoised.
        span : float
            Width of the model's output range, in counts.
        share : (int, int)
            Number of this process, and of all: each takes some of the images.
        total : callable
            Adds up a tensor over all processes.
        """
        errors = torch.zeros(len(self.fields), 2, dtype=torch.float64)
        for i in range(share[0], len(self.fields), share[1]):
            sums, count = np.zeros(2), 0.0
            for low, high, inside in _planes(self.fields[i]):
                denoised = sampler(torch.from_numpy(low).to(device))[0].cpu().numpy()
                error = np.where(inside, denoised.astype(np.float64) - high, 0.0)
                sums += np.abs(error).sum(), np.square(error).sum()
                count += np.broadcast_to(inside, error.shape).sum()
            errors[i] = torch.from_numpy(sums / count)
        mae, square = total(errors.to(device)).cpu().mean(0).tolist()
        return Score(mae, 10 * math.log10(span**2 / square) if square > 0 else math.inf)


def _planes(field: Planes) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield low, high and what is valid of one plane after the other, each (1, C, Y, X)."""
    for i in range(len(field.low)):
        inside = np.ones((1, 1, 1, 1), bool) if field.mask is None else field.mask[i : i + 1]
        yield field.low[i : i + 1], field.high[i : i + 1], inside
