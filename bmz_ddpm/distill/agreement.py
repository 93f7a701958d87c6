"""How near a student comes to the sampler, on images it was not taught on."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    modules = [checkpoint.sampler(s).to(device) for s in (settings, instant)]
    span = model.intensity.span
    rows = []
    for field in fields:
        low = torch.from_numpy(field.low).to(device)
        (mean, std, entropy), (mean1, std1, entropy1) = (
            tuple(output.cpu().numpy().astype(np.float64) for output in module(low))
            for module in modules
        )
        inside = np.ones_like(field.high, bool) if field.mask is None else field.mask
        inside = np.broadcast_to(inside, field.high.shape)
        errors = [np.square(m - field.high)[inside].mean() for m in (mean, mean1)]
        rows.append(
            [
                math.sqrt(np.square(mean1 - mean).mean()) / span,
                *(10 * math.log10(span**2 / max(error, 1e-12)) for error in errors),
                float(np.corrcoef(std.ravel(), std1.ravel())[0, 1]),
                std1.mean() / max(std.mean(), 1e-12),
                np.abs(entropy1 - entropy).mean(),
            ]
        )
    return Agreement(len(rows), *(float(v) for v in np.mean(rows, axis=0)))
