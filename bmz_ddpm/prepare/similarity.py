"""How alike a noisy and a clean image are: a correlation of what both show."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

#: Standard deviations in pixels of two Gaussian filters. Finer than the first is mostly noise;
#: coarser than the second is uneven light, in which unrelated images resemble each other.
FINE, COARSE = 1.0, 32.0
#: For judging, not for registering, coarser details count: there the noise is smaller.
JUDGED = 2.0


def structure(
    planes: np.ndarray, valid: np.ndarray | None = None, channel: int | None = None
) -> np.ndarray:
    """Return what a stack shows, without uneven light and with less noise.

    Parameters
    ----------
    planes : (P, C, Y, X)
        Counts. Planes are averaged, which reduces the noise further than a maximum would.
    valid : (Y, X) bool, optional
        Where the image holds something.
    channel : int, optional
        Counted from 1; without it the mean of all channels, each with the same contrast.

    Returns
    -------
    (Y, X) float32
        Mean 0 and standard deviation 1; all 0 where the image is constant.
    """
    images = planes.mean(0, dtype=np.float64)
    if channel is not None:
        images = images[channel - 1 : channel]
    where = np.ones(images.shape[1:], bool) if valid is None else valid
    total = np.zeros(images.shape[1:])
    for image in images:
        filled = np.where(where, image, image[where].mean())
        band = gaussian_filter(filled, FINE) - gaussian_filter(filled, COARSE)
        total += standardised(band, where)
    return standardised(total, where).astype(np.float32)


def standardised(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return (Y, X) with mean 0 and standard deviation 1 where `where`, and 0 elsewhere."""
    inside = image[where]
    spread = inside.std()
    if spread <= 1e-9 * max(1.0, float(np.abs(inside).max())):
        return np.zeros_like(image)
    return np.where(where, (image - inside.mean()) / spread, 0)


def similarity(low: np.ndarray, high: np.ndarray, where: np.ndarray) -> float:
    """Correlate two structures.

    Parameters
    ----------
    low, high : (Y, X) float32
        From `structure`.
    where : (Y, X) bool
        Pixels that count.

    Returns
    -------
    float
        Pearson's correlation, -1 to 1; 0 where one of the two is constant.
    """
    if not where.any():
        return 0.0
    a, b = (standardised(gaussian_filter(image, JUDGED), where)[where] for image in (low, high))
    return float((a * b).mean())
