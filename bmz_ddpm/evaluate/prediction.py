"""A prediction as stacks of planes, and how it may be changed before it is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from ..data.planes import stacked
from ..errors import DataError, MissingDependency
from .resolution import apodised


@dataclass(frozen=True)
class Prediction:
    """What a method says about one image.

    Attributes
    ----------
    mean : (P, Y, X) float32
        In counts; the planes count over t, z and c.
    std : (P, Y, X) float32, optional
        Population standard deviation of the samples, in counts.
    entropy : (P, Y, X) float32, optional
        In nats.
    samples : (N, P, Y, X) float32, optional
        The samples themselves, in counts.
    count : int, optional
        Their number, where it is known.
    source : str, optional
        The file it was read from.
    """

    mean: np.ndarray
    std: np.ndarray | None = None
    entropy: np.ndarray | None = None
    samples: np.ndarray | None = None
    count: int | None = None
    source: str | None = None


def as_planes(image: xr.DataArray) -> np.ndarray:
    """Return (P, Y, X) float32: the planes count over t, z and c, in this order."""
    planes = stacked(image)
    return planes.reshape(-1, *planes.shape[2:])


def like(planes: np.ndarray, image: xr.DataArray) -> xr.DataArray:
    """Return (P, Y, X) planes with the axes and the pixel size of `image`; c where they differ."""
    shape = [image.sizes.get(d, 1) for d in "tz"]
    values = planes.reshape(*shape, -1, *planes.shape[1:])
    full = xr.DataArray(values, dims=tuple("tzcyx"), attrs=dict(image.attrs))
    return full.isel({d: 0 for d in "tzc" if d not in image.dims and full.sizes[d] == 1})


def affine(prediction: Prediction, gain: np.ndarray, offset: np.ndarray) -> Prediction:
    """Return gain·prediction + offset, with one gain and offset per plane: both (P,)."""
    gain, offset = (v.astype(np.float32)[:, None, None] for v in (gain, offset))
    return replace(
        prediction,
        mean=prediction.mean * gain + offset,
        std=None if prediction.std is None else prediction.std * gain,
        samples=None if prediction.samples is None else prediction.samples * gain + offset,
    )


def clipped(prediction: Prediction, peak: float) -> Prediction:
    """Return the prediction with its mean clipped to [0, peak], as in the paper."""
    return replace(prediction, mean=np.clip(prediction.mean, 0, np.float32(peak)))


def rescaled(prediction: Prediction, mean: float, std: float) -> Prediction:
    """Bring every plane linearly to a mean and a standard deviation.

    Parameters
    ----------
    mean, std : float
        Of the reference images of the training set. The paper does this with N2V, CARE and
        UNet-RCAN; it does not say which linear transformation, this one matches two moments.
    """
    values = prediction.mean.astype(np.float64)
    spread = values.std((1, 2))
    gain = std / np.where(spread > 0, spread, np.inf)
    return affine(prediction, gain, mean - gain * values.mean((1, 2)))


def aligned(
    prediction: Prediction, truth: np.ndarray
) -> tuple[Prediction, np.ndarray, list[list[float]]]:
    """Shift every plane of a prediction onto the truth, to a fiftieth of a pixel.

    Parameters
    ----------
    truth : (P, Y, X)

    Returns
    -------
    prediction : Prediction
        Shifted by cubic interpolation.
    valid : (P, Y, X) bool
        False at the borders, where nothing was shifted in.
    shifts : list of [y, x]
        In pixels, per plane.

    Raises
    ------
    MissingDependency
        If scikit-image is not installed.
    DataError
        If a shift is longer than an eighth of the image: it is no drift.

    References
    ----------
    Guizar-Sicairos, Thurman, Fienup (2008), "Efficient subpixel image registration algorithms".
    """
    valid = np.ones(truth.shape, bool)
    stacks = {n: getattr(prediction, n) for n in ("mean", "std", "entropy", "samples")}
    moved = {n: s.copy() for n, s in stacks.items() if s is not None}
    shifts = []
    for index in range(len(truth)):
        shift = _offset(truth[index], prediction.mean[index])
        if (np.abs(shift) > np.array(truth.shape[1:]) / 8).any():
            raise DataError(
                f"plane {index}: lies {shift[0]:+.1f}, {shift[1]:+.1f} pixels (y, x) from the "
                "truth, more than an eighth of the image",
                "is it the right partner? leave --align out to score it as it is",
            )
        for values in moved.values():
            values[..., index, :, :] = _shifted(values[..., index, :, :], shift)
        for axis, distance in enumerate(shift):
            rim = int(np.ceil(abs(distance)))
            edge: list[Any] = [index, slice(None), slice(None)]
            side = truth.shape[axis + 1]
            edge[axis + 1] = slice(0, rim) if distance > 0 else slice(side - rim, side)
            valid[tuple(edge)] = False
        shifts.append([float(v) for v in shift])
    return replace(prediction, **moved), valid, shifts


def _offset(truth: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return by how many pixels (y, x) the image has to be shifted to lie on the truth."""
    try:
        from skimage.registration import phase_cross_correlation
    except ImportError as error:
        raise MissingDependency("scikit-image", "evaluate", "--align") from error
    total = np.zeros(2)
    # faded borders do not move with the image and pull the result to zero: look again
    for _ in range(4):
        a, b = apodised(truth), apodised(_shifted(image, total))
        # plain correlation: dividing by the modulus would amplify what a smooth image lacks
        step = phase_cross_correlation(a, b, upsample_factor=50, normalization=None)[0]
        total += step
        if not step.any():
            break
    return total


def _shifted(values: np.ndarray, shift: np.ndarray) -> np.ndarray:
    from scipy.ndimage import shift as shift_image

    distance = (0.0,) * (values.ndim - 2) + tuple(shift)
    return shift_image(values, distance, order=3, mode="nearest")
