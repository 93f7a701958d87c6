"""A noise model of the camera, fitted to pairs, to draw more realisations of the noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: A capture in which this share of the pixels has the darkest value was cut off there.
CUT_OFF_SHARE = 0.05


@dataclass(frozen=True)
class NoiseModel:
    """Poisson–Gaussian noise, with the pulses of a photomultiplier.

    Attributes
    ----------
    gain : float
        Variance per mean, in grey levels.
    offset : float
        Counts without any light.
    read_std : float
        Standard deviation without any light, in counts.
    pulse_shape : float
        One photon's pulse is gamma distributed with this shape: (mean / standard deviation)² of
        its height. 1 is an exponential distribution, 100 and more a camera whose pulses are
        alike (plain Poisson noise).

    References
    ----------
    Foi et al. (2008), "Practical Poissonian-Gaussian noise modeling and fitting".
    """

    gain: float
    offset: float
    read_std: float
    pulse_shape: float = 100.0

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
        unit = gain / (self.pulse_shape + 1)  # scale of the gamma distribution
        light = (clean - self.offset).clamp(min=0)
        photons = torch.poisson(light / (unit * self.pulse_shape), generator=generator)
        # the sum of n gamma variables of shape k is one of shape n·k
        height = torch._standard_gamma(photons.clamp(min=1) * self.pulse_shape, generator)
        signal = torch.where(photons > 0, unit * height, 0.0)
        read = self.read_std * torch.randn(clean.shape, generator=generator)
        return self.offset + signal + read


def fit_noise(pairs: list[tuple[np.ndarray, np.ndarray]]) -> NoiseModel:
    """Fit the variance and the skewness of low − high against high.

    Parameters
    ----------
    pairs : list of (low, high)
        Arrays of equal shape, in the same counts. Pixels at the top of the range are left
        out, as clipping hides their noise.

    Returns
    -------
    NoiseModel
    """
    offset, cut_off = _darkest(pairs)
    bins = [b for low, high in pairs for b in _bins(low, high)]
    if len(bins) < 2:
        return NoiseModel(gain=1e-6, offset=offset, read_std=0.0)
    means, variances, thirds, counts = np.array(bins).T
    above = np.clip(means - offset, 1e-3, None)
    # relative residuals: dim and bright bins count alike
    scale = np.sqrt(counts) / np.maximum(variances, 1e-6)
    design = np.stack([above, np.zeros_like(above) if cut_off else np.ones_like(above)], 1)
    solution = np.linalg.lstsq(design * scale[:, None], variances * scale, rcond=None)[0]
    gain = max(float(solution[0]), 1e-6)
    # moments of a sum of gamma pulses: third·mean/variance² = (k + 2)/(k + 1)
    ratio = float(np.clip(np.median(thirds * above / np.maximum(variances, 1e-6) ** 2), 1.01, 1.6))
    return NoiseModel(
        gain=gain,
        offset=offset,
        read_std=float(np.sqrt(max(solution[1], 0.0))),
        pulse_shape=(2 - ratio) / (ratio - 1),
    )


def _darkest(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, bool]:
    """Return the counts without light, and whether captures are cut off there.

    A detector that is cut off at its dark level shows no read noise, and its dark pixels all
    have that value: then it is known exactly. Else it is the darkest expected count; a
    percentile of the noisy image would follow its read noise.
    """
    darkest = min(float(np.percentile(low, 0.5)) for low, _ in pairs)  # a few may be defects
    if any(float((low == darkest).mean()) >= CUT_OFF_SHARE for low, _ in pairs):
        return darkest, True
    return min(float(np.percentile(high, 0.1)) for _, high in pairs), False


def _bins(low: np.ndarray, high: np.ndarray) -> list[tuple[float, float, float, int]]:
    """Return (mean, variance, third central moment, count) of the noise, by brightness."""
    low, high = low.astype(np.float64).ravel(), high.astype(np.float64).ravel()
    edges = np.unique(np.percentile(high, np.linspace(0, 98, 25)))
    where = np.digitize(high, edges)
    found = []
    for i in range(1, len(edges)):
        inside = where == i
        if inside.sum() >= 100 and high[inside].mean() < 0.6 * high.max() + 1:
            noise = low[inside] - high[inside]
            noise -= noise.mean()
            moments = float((noise**2).mean()), float((noise**3).mean())
            found.append((float(high[inside].mean()), *moments, int(inside.sum())))
    return found
