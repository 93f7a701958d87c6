"""Is an image like those that a model was calibrated on? Its intensities and its noise tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..config import Calibration
from .predictor import planes_of

#: Percent points of an image that stand for its darkest and brightest.
ENDS = (0.1, 99.9)
#: An image may leave the range of the calibration images by this share of it, and be noisier or
#: less noisy than any of them by this factor.
BEYOND, FACTOR = 0.1, 1.5


@dataclass(frozen=True)
class Traits:
    """What is compared.

    Attributes
    ----------
    low, high : float
        Percent points `ENDS`, in counts.
    noise : float
        Noise level, in counts.
    """

    low: float
    high: float
    noise: float


def traits(plane: np.ndarray) -> Traits:
    """Measure a plane.

    Parameters
    ----------
    plane : (C, Y, X)
        In counts.

    References
    ----------
    Immerkær (1996), "Fast noise variance estimation": the mean absolute value of a mask that
    cancels planes and edges, made with the second difference along both axes.
    """
    values = plane.astype(np.float64)
    low, high = np.percentile(values, ENDS)
    if min(values.shape[1:]) < 3:
        return Traits(float(low), float(high), float("nan"))
    rows = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
    both = rows[:, :, 2:] - 2 * rows[:, :, 1:-1] + rows[:, :, :-2]
    noise = np.sqrt(np.pi / 2) * np.abs(both).mean() / 6
    return Traits(float(low), float(high), float(noise))


def unlike(image: xr.DataArray, name: str, calibration: Calibration) -> list[str]:
    """Say in one line each in what an image differs from all calibration images.

    Only its first plane is looked at.

    Parameters
    ----------
    image : DataArray
        Dimensions out of "tzcyx"; counts.
    name : str
        What it is called in the lines.
    """
    found = traits(planes_of(image)[0, 0].values)
    low, high = calibration.range_low, calibration.range_high
    room = BEYOND * (high[1] - low[0])
    lines = []
    if found.low < low[0] - room or found.high > high[1] + room:
        lines.append(f"{name}: has grey levels {_ends(found)}, {_others(low[0], high[1])}")
    elif found.high < high[0] - room:
        lines.append(
            f"{name}: is darker than all calibration images ({_ends(found)}, their brightest are "
            f"{high[0]:.4g} or more): its intervals may not cover what they promise"
        )
    if not calibration.noise_low / FACTOR <= found.noise <= calibration.noise_high * FACTOR:
        lines.append(
            f"{name}: has a noise level of {found.noise:.3g} grey levels, "
            f"{_others(calibration.noise_low, calibration.noise_high)}"
        )
    return lines


def _ends(found: Traits) -> str:
    return f"{found.low:.4g} to {found.high:.4g}"


def _others(low: float, high: float) -> str:
    return (
        f"the calibration images {low:.4g} to {high:.4g}: its intervals may not cover what they "
        "promise"
    )
