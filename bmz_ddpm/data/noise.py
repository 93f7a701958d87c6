"""A noise model of the camera, fitted to pairs, to draw more realisations of the noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Photon pulses of a photomultiplier vary in height; this is (mean / standard deviation)².
PULSE_SHAPE = 4.0


@dataclass(frozen=True)
class NoiseModel:
    """Poisson–Gaussian noise.

    Attributes
    ----------
    gain : float
        Variance per mean, in grey levels.
    offset : float
        Counts without any light.
    read_std : float
        Standard deviation without any light, in counts.

    References
    ----------
    Foi et al. (2008), "Practical Poissonian-Gaussian noise modeling and fitting".
    """

    gain: float
    offset: float
    read_std: float

    def draw(self, clean: Tensor, gain: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one noisy image.

        Parameters
        ----------
        clean : (…) float32
            Expected counts.
        gain : scalar Tensor
            Used instead of `self.gain`.
        generator : torch.Generator

        Returns
        -------
        (…) float32
            Counts; not yet rounded or clipped. Its mean is `clean`, its variance
            gain·(clean − offset) + read_std².
        """
        pulse = gain * PULSE_SHAPE / (PULSE_SHAPE + 1)  # mean height of one photon's pulse
        photons = torch.poisson((clean - self.offset).clamp(min=0) / pulse, generator=generator)
        normal = torch.randn(clean.shape, generator=generator)
        spread = pulse * (photons / PULSE_SHAPE).sqrt() * normal
        read = self.read_std * torch.randn(clean.shape, generator=generator)
        return self.offset + (pulse * photons + spread).clamp(min=0) + read


def fit_noise(pairs: list[tuple[np.ndarray, np.ndarray]]) -> NoiseModel:
    """Fit the variance of low − high against high.

    Parameters
    ----------
    pairs : list of (low, high)
        Arrays of equal shape, in the same counts. Pixels at the top of the range are left
        out, as clipping hides their noise.

    Returns
    -------
    NoiseModel
    """
    means, variances, weights = [], [], []
    # the darkest expected count; a percentile of the noisy image would follow its read noise
    offset = min(float(np.percentile(high, 0.1)) for _, high in pairs)
    for low, high in pairs:
        low, high = low.astype(np.float64).ravel(), high.astype(np.float64).ravel()
        edges = np.unique(np.percentile(high, np.linspace(0, 98, 25)))
        where = np.digitize(high, edges)
        for i in range(1, len(edges)):
            inside = where == i
            if inside.sum() >= 100 and high[inside].mean() < 0.6 * high.max() + 1:
                means.append(high[inside].mean())
                variances.append((low[inside] - high[inside]).var())
                weights.append(inside.sum())
    if len(means) < 2:
        return NoiseModel(gain=1e-6, offset=offset, read_std=0.0)
    above = np.clip(np.array(means) - offset, 1e-3, None)
    # relative residuals: dim and bright bins count alike
    design = np.stack([above, np.ones_like(above)], 1)
    scale = np.sqrt(np.array(weights)) / np.maximum(np.array(variances), 1e-6)
    solution = np.linalg.lstsq(design * scale[:, None], np.array(variances) * scale, rcond=None)[0]
    return NoiseModel(
        gain=max(float(solution[0]), 1e-6),
        offset=offset,
        read_std=float(np.sqrt(max(solution[1], 0.0))),
    )
