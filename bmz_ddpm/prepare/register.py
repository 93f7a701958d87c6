"""Lay the clean image over the noisy one: a rigid registration with SimpleITK.

The clean image is moved and the noisy one stays as it is: interpolating it would average
neighbouring pixels, and so change the very noise that a denoiser has to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MissingDependency
from .settings import Mode

#: Sides in pixels of the images in which the first guess and the last refinement are made.
GUESS, FINEST = 256, 1024
#: Smallest share of overlap that a first guess may have.
SHARE = 0.5


@dataclass(frozen=True)
class Movement:
    """How the clean image was moved, in pixels of the noisy one.

    Attributes
    ----------
    shift_y, shift_x : float
        Where the middle of the clean image went, down and to the right.
    rotation : float
        Degrees about the middle, counter-clockwise as seen on a screen.
    """

    shift_y: float = 0.0
    shift_x: float = 0.0
    rotation: float = 0.0

    @property
    def shift(self) -> float:
        """Length of the shift in pixels."""
        return math.hypot(self.shift_y, self.shift_x)

    def source(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Say which point of the clean image comes to each pixel: two (Y, X) float64."""
        middle_y, middle_x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
        y, x = y - middle_y - self.shift_y, x - middle_x - self.shift_x
        c, s = math.cos(math.radians(self.rotation)), math.sin(math.radians(self.rotation))
        return s * x + c * y + middle_y, c * x - s * y + middle_x

    def farthest(self, shape: tuple[int, int]) -> float:
        """Return how far the corner goes that goes farthest, in pixels."""
        y, x = self.source(shape)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        return float(np.hypot(y - rows, x - columns)[:: shape[0] - 1, :: shape[1] - 1].max())


def load_simpleitk() -> Any:
    """Import SimpleITK.

    Raises
    ------
    MissingDependency
        If it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingDependency("SimpleITK", "prepare", "registration") from error
    return SimpleITK


def find_movement(
    low: np.ndarray, high: np.ndarray, mode: Mode, valid: np.ndarray | None = None
) -> Movement | None:
    """Find the movement of the clean image that makes it look most like the noisy one.

    First guess: the shift with the highest normalised correlation of all whose overlap is at
    least half. It is refined by gradient descent on the correlation, from coarse to fine. One
    thread and every pixel, so the same images always give the same result.

    Parameters
    ----------
    low, high : (Y, X) float32
        From `similarity.structure`.
    mode : str
        "shift", or "rigid" for a rotation too; "none" finds no movement at all.
    valid : (Y, X) bool, optional
        Where the clean image holds something.

    Returns
    -------
    Movement or None
        None if the two have nothing in common that could be registered.
    """
    if mode == "none":
        return Movement()
    sitk = load_simpleitk()
    fixed, moving = sitk.GetImageFromArray(low), sitk.GetImageFromArray(high)
    guess = _guess(sitk, fixed, moving)
    transform = _transform(sitk, guess, low.shape, mode)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    if valid is not None:
        method.SetMetricMovingMask(sitk.GetImageFromArray(valid.astype(np.uint8)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    finest = max(1, round(max(low.shape) / FINEST))
    factors = [finest * k for k in (4, 2, 1) if min(low.shape) // (finest * k) >= 16]
    method.SetShrinkFactorsPerLevel(factors or [1])
    method.SetSmoothingSigmasPerLevel([k / 2 if k > 1 else 0 for k in factors or [1]])
    method.SetInitialTransform(transform, inPlace=True)
    method.SetNumberOfThreads(1)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # such as: all samples map outside
        return None
    return _movement(transform, mode)


def _guess(sitk: Any, fixed: Any, moving: Any) -> tuple[float, float]:
    """Return the shift (y, x) in pixels at which two images correlate most."""
    factor = max(1, math.ceil(max(fixed.GetSize()) / GUESS))
    small = [sitk.BinShrink(image, [factor] * 2) for image in (fixed, moving)]
    found = sitk.GetArrayFromImage(sitk.FFTNormalizedCorrelation(*small, 0, SHARE))
    peak = np.unravel_index(found.argmax(), found.shape)
    y, x = ((p - (n - 1) / 2) * factor for p, n in zip(peak, found.shape, strict=True))
    return float(y), float(x)


def _transform(sitk: Any, guess: tuple[float, float], shape: tuple[int, ...], mode: Mode) -> Any:
    """Return ITK's transform, which maps points of the noisy image to the clean one."""
    y, x = guess
    if mode == "shift":
        return sitk.TranslationTransform(2, (-x, -y))
    transform = sitk.Euler2DTransform()
    transform.SetCenter([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    transform.SetTranslation((-x, -y))
    return transform


def _movement(transform: Any, mode: Mode) -> Movement:
    if mode == "shift":
        x, y = transform.GetOffset()
        return Movement(-y, -x)
    x, y = transform.GetTranslation()
    angle = transform.GetAngle()
    c, s = math.cos(angle), math.sin(angle)
    return Movement(s * x - c * y, -c * x - s * y, math.degrees(angle))


def move(image: np.ndarray, movement: Movement, smooth: bool = True) -> np.ndarray:
    """Move an image.

    Parameters
    ----------
    image : (Y, X)
        Counts.
    movement : Movement
    smooth : bool
        Interpolate with cubic B-splines, else linearly. Linear interpolation blurs by an amount
        that depends on the fraction of the shift; the clean images must stay sharp.

    Returns
    -------
    (Y, X) float64
        0 where there is no data.
    """
    sitk = load_simpleitk()
    transform = sitk.Euler2DTransform()
    rows, columns = image.shape
    transform.SetCenter([(columns - 1) / 2, (rows - 1) / 2])
    transform.SetAngle(math.radians(movement.rotation))
    c, s = math.cos(transform.GetAngle()), math.sin(transform.GetAngle())
    y, x = movement.shift_y, movement.shift_x
    transform.SetTranslation((s * y - c * x, -s * x - c * y))
    fixed = sitk.GetImageFromArray(image.astype(np.float64))
    how = sitk.sitkBSpline if smooth else sitk.sitkLinear
    moved = sitk.GetArrayFromImage(sitk.Resample(fixed, fixed, transform, how, 0.0))
    return np.where(_inside(movement, (rows, columns)), moved, 0)


def moved_mask(valid: np.ndarray, movement: Movement) -> np.ndarray:
    """Say where a moved image holds data: where all the pixels it comes from are valid.

    Parameters
    ----------
    valid : (Y, X) bool
    movement : Movement

    Returns
    -------
    (Y, X) bool
    """
    if movement == Movement():
        return valid
    rows, columns = valid.shape
    inside = _inside(movement, (rows, columns))
    if valid.all():
        return inside
    return inside & (move(valid, movement, smooth=False) > 1 - 1e-6)


def _inside(movement: Movement, shape: tuple[int, int]) -> np.ndarray:
    """Say which pixels come from between the pixels of the clean image: (Y, X) bool."""
    y, x = movement.source(shape)
    near = 1e-6  # of a pixel, for the rounding of whole-numbered shifts
    return (y >= -near) & (y <= shape[0] - 1 + near) & (x >= -near) & (x <= shape[1] - 1 + near)
