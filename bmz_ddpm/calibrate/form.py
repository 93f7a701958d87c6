"""The form of the intervals: how their width depends on the mean and the std.

It is fitted to other fields than those that decide the width. The promise holds whatever the
form; a good one only makes the intervals shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..diffusion.interval import Interval

#: Rounds of reweighting.
ROUNDS = 10
#: Share of the error, as root mean square, below which no width falls; and of the longer arm,
#: below which the shorter does not fall.
LEAST_WIDTH, LEAST_ARM = 0.02, 0.2


@dataclass(frozen=True)
class Pixels:
    """The valid pixels of one image.

    Attributes
    ----------
    truth, mean, std : (K,) float32
        In counts.
    """

    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def thinned(self, most: int) -> Pixels:
        """Return at most so many of them, evenly spaced."""
        step = -(-self.truth.size // most)
        return Pixels(self.truth[::step], self.mean[::step], self.std[::step])


@dataclass(frozen=True)
class Form:
    """What the intervals of width 1 look like; see `Calibration` for the formula.

    Attributes
    ----------
    spread : float
    floor : (a, b, c), in counts²
    below, above : float
        Chosen so that each arm misses alpha / 2 of the pixels that it was fitted to.
    low, high : float
        Output range, in counts.
    """

    spread: float
    floor: tuple[float, float, float]
    below: float
    above: float
    low: float
    high: float

    def module(self, scale: float = 1.0) -> Interval:
        """Return the very module that packages hold, `scale` times as wide."""
        module = Interval()
        arms = scale * self.below, scale * self.above
        constants = torch.tensor([self.spread, *self.floor, *arms, self.low, self.high])
        module.constants.copy_(constants)
        return module

    def scores(self, pixels: Pixels) -> np.ndarray:
        """Return (K,) by how much the interval would have to be scaled to reach the truth.

        Infinite where the truth lies outside the output range, which intervals never leave, and
        where an interval of no width misses it.
        """
        truth, mean = pixels.truth.astype(np.float64), torch.from_numpy(pixels.mean)
        width = self.module().width(mean, torch.from_numpy(pixels.std)).numpy()
        error = truth - pixels.mean
        reach = np.maximum(error / self.above, -error / self.below)
        scores = np.where(reach > 0, np.inf, 0.0)
        np.divide(reach, width, out=scores, where=width > 0)
        return np.where((truth < self.low) | (truth > self.high), np.inf, scores)


def fit_form(pixels: Pixels, alpha: float, ends: tuple[float, float], by_mean: bool = True) -> Form:
    """Fit the expected squared error as spread·std² + a + b·m + c·m², nothing negative.

    Least squares, each pixel weighted by the inverse of what was fitted before: the variance of
    a squared error grows with its square. Then the arms, by quantiles of error / width.

    Parameters
    ----------
    pixels : Pixels
        Of the fields to fit to.
    alpha : float
        Share of pixels that the intervals may miss.
    ends : (low, high)
        Output range, in counts.
    by_mean : bool
        Whether the width may depend on the mean; else b and c are zero.
    """
    from scipy.optimize import nnls

    low, high = ends
    mean, std = pixels.mean.astype(np.float64), pixels.std.astype(np.float64)
    error = pixels.truth - mean
    mean_square = max(float((error**2).mean()), 1e-12)
    share = np.clip((mean - low) / (high - low), 0, 1)
    design = np.stack([std**2, np.ones_like(share), share, share**2], 1)
    design[:, 2:] *= by_mean  # columns of zeros get the weight zero
    target = error**2 / mean_square
    scaled = design / np.maximum(design.mean(0), 1e-12)
    fitted = np.ones_like(target)
    for _ in range(ROUNDS):
        solution = nnls(scaled / fitted[:, None], target / fitted)[0]
        fitted = np.maximum(scaled @ solution, LEAST_WIDTH)
    values = solution * mean_square / np.maximum(design.mean(0), 1e-12)
    least = LEAST_WIDTH**2 * mean_square
    floor = max(float(values[1]), least), float(values[2]), float(values[3])
    width = np.sqrt(design @ np.array([values[0], *floor]))
    below, above = (float(np.quantile(e / width, 1 - alpha / 2)) for e in (-error, error))
    least_arm = LEAST_ARM * max(below, above, 1e-6)
    return Form(float(values[0]), floor, max(below, least_arm), max(above, least_arm), low, high)
