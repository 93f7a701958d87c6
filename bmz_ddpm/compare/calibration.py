"""Does a std map keep its promise? Pixel by pixel, on the images that are shown."""

from __future__ import annotations

import numpy as np

#: Pixels of one image that are looked at, and classes into which they are sorted.
MOST_PIXELS, CLASSES = 100_000, 12


def promised_and_found(
    mean: np.ndarray, clean: np.ndarray, std: np.ndarray, samples: object
) -> np.ndarray:
    """Return (2, K): variance promised and squared error found, of evenly spaced pixels.

    Parameters
    ----------
    mean, clean, std : (Y, X) float32
        In counts.
    samples : object
        How many were averaged; the std map is taken as it is where this is no number above 1.

    References
    ----------
    Fortin et al. (2014), "Why should ensemble spread match the RMSE of the ensemble mean?",
    eq. 15: an unbiased variance, enlarged by the error of the mean itself.
    """
    step = -(-mean.size // MOST_PIXELS)
    many = isinstance(samples, int) and samples > 1
    factor = (samples + 1) / (samples - 1) if many else 1.0  # type: ignore[operator]
    promised = factor * std.ravel()[::step].astype(np.float64) ** 2
    return np.stack([promised, (mean - clean).ravel()[::step].astype(np.float64) ** 2])


def calibration_curve(pixels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return promised and found error, in counts, of classes of pixels with similar std.

    Parameters
    ----------
    pixels : list of (2, K)
        From `Gallery.pixels`.
    """
    promised, found = np.concatenate(pixels, axis=1)
    order = np.argsort(promised, kind="stable")
    classes = np.array_split(order, min(CLASSES, len(order)))
    curve = np.array([[promised[c].mean(), found[c].mean()] for c in classes])
    return np.sqrt(curve[:, 0]), np.sqrt(curve[:, 1])
