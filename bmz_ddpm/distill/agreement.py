"""How near a student comes to the sampler, on images it was not taught on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..config import TrainConfig
from ..data.pairs import Pair
from ..diffusion.assemble import SamplerSettings
from ..train.checkpoint import Checkpoint
from ..train.validation import Validation


@dataclass(frozen=True)
class Agreement:
    """Means over the validation images.

    Attributes
    ----------
    images : int
    difference : float
        Root mean square of student minus sampler's mean, as a share of the output range.
    psnr_sampler, psnr_student : float
        Against the clean image, in dB; the peak is the width of the output range.
    std_correlation : float
        Pearson correlation of the two std maps.
    difference_repeat, std_repeat : float
        The same two between the sampler and itself with another seed: N samples know mean and
        std only so well, and no estimate correlates better with such a map than the square root
        of `std_repeat`.
    std_ratio : float
        Mean std of the student over that of the sampler.
    entropy_difference : float
        Mean absolute difference, in nats.
    """

    images: int
    difference: float
    psnr_sampler: float
    psnr_student: float
    std_correlation: float
    difference_repeat: float
    std_repeat: float
    std_ratio: float
    entropy_difference: float


@torch.no_grad()
def measure_agreement(
    checkpoint: Checkpoint,
    settings: SamplerSettings,
    pairs: list[Pair],
    config: TrainConfig,
    device: torch.device,
) -> Agreement | None:
    """Run sampler and student on the centres of the validation images.

    Parameters
    ----------
    checkpoint : Checkpoint
        With a student.
    settings : SamplerSettings
        Of the sampler.
    config : TrainConfig
        Says how much of each image is looked at.

    Returns
    -------
    Agreement or None
        None without validation images.
    """
    if not pairs:
        return None
    model = checkpoint.config
    fields = Validation(pairs, config, (model.in_channels, model.out_channels)).fields
    instant = SamplerSettings(1, settings.num_samples, 0.0, one_pass=True)
    again = replace(settings, seed=settings.seed + 1)
    modules = [checkpoint.sampler(s).to(device) for s in (settings, instant, again)]
    span = model.intensity.span
    rows = []
    for field in fields:
        low = torch.from_numpy(field.low).to(device)
        (mean, std, entropy), (mean1, std1, entropy1), (mean2, std2, _) = (
            tuple(output.cpu().numpy().astype(np.float64) for output in module(low))
            for module in modules
        )
        inside = np.ones_like(field.high, bool) if field.mask is None else field.mask
        inside = np.broadcast_to(inside, field.high.shape)
        errors = [np.square(m - field.high)[inside].mean() for m in (mean, mean1)]
        rows.append(
            [
                root_mean_square(mean1 - mean) / span,
                *(10 * math.log10(span**2 / max(error, 1e-12)) for error in errors),
                correlation(std, std1),
                root_mean_square(mean2 - mean) / span,
                correlation(std, std2),
                std1.mean() / max(std.mean(), 1e-12),
                np.abs(entropy1 - entropy).mean(),
            ]
        )
    return Agreement(len(rows), *(float(v) for v in np.mean(rows, axis=0)))


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean square."""
    return math.sqrt(np.square(values).mean())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two maps."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
