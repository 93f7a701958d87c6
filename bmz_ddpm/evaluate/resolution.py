"""The smallest detail in an image, by decorrelation analysis."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

#: Which of the peaks found with different high-pass filters tells the cut-off.
Rule = Literal["highest", "geometric"]

#: A peak counts only if the curve falls behind it by this much, and if it is this high.
LEAST_FALL, LEAST_HEIGHT = 1e-3, 0.05


class Peak(NamedTuple):
    """Where a decorrelation curve is highest, as a share of Nyquist's frequency; 0, 0 if nowhere.

    Attributes
    ----------
    radius, height : float
        0 to 1.
    """

    radius: float
    height: float


class _Spectrum(NamedTuple):
    """Sums over thin rings of Fourier space, whose radii are shares of Nyquist's frequency."""

    radius: np.ndarray
    modulus: np.ndarray
    power: np.ndarray
    pixels: np.ndarray


def resolution(
    image: np.ndarray, pixel_size: float = 1.0, rule: Rule = "highest", filters: int = 10
) -> float:
    """Return the resolution of one image: the period of the finest detail above its noise.

    Parameters
    ----------
    image : (Y, X)
    pixel_size : float
        The result has its unit; with 1 it is in pixels.
    rule : "highest" or "geometric"
        Each high-pass filter gives a curve and its peak; the rule picks one of the peaks, and 2
        pixels divided by its frequency (a share of Nyquist's) is the resolution.
        "highest" takes the peak at the highest frequency: the paper's eq. 13, which
        ``bmz-ddpm evaluate`` and all its tables use. "geometric" takes the peak with the largest
        product of frequency and height (so the largest geometric mean of the two): it is
        steadier where noise makes small peaks near Nyquist's frequency. No command uses it;
        call this function where you want it.
    filters : int
        Number of high-pass filters.

    Returns
    -------
    float
        Between 2 pixels (Nyquist's limit) and the width of the image; not a number where no
        curve has a peak, as for a constant image or pure noise.

    References
    ----------
    Descloux, Grussmayer, Radenovic (2019), "Parameter-free image resolution estimation based on
    decorrelation analysis", Nature Methods 16, 918. The paper, eqs. 12 and 13. The two programs
    of the authors (an ImageJ plugin and MATLAB code) do not agree with each other; this is written
    from the equations and was compared with neither. Quote ratios, and values of one program.
    """
    spectrum = _spectrum(apodised(image))
    if not spectrum.power.any():
        return float("nan")
    first = _peak(spectrum, None)
    weakest = 2 / first.radius if first.radius else max(image.shape) / 2
    sigmas = np.geomspace(weakest, 0.15, filters)
    peaks = [first] + [_peak(spectrum, sigma) for sigma in (min(image.shape) / 4, *sigmas)]
    chosen = int(np.argmax([_rank(peak, rule) for peak in peaks]))
    # once more around the filter that won, in finer steps: the peak moves with the filter
    if chosen >= 2:
        index = chosen - 2
        ends = sigmas[max(index - 1, 0)], sigmas[min(index + 1, filters - 1)]
        peaks += [_peak(spectrum, sigma) for sigma in np.geomspace(*ends, filters)]
    best = max(peaks, key=lambda peak: _rank(peak, rule))
    if _rank(best, rule) == 0:
        return float("nan")
    return 2 * pixel_size / best.radius


def apodised(image: np.ndarray, width: int = 20) -> np.ndarray:
    """Return the image minus its mean, faded to zero over `width` pixels at the borders.

    Without it, the jump between opposite borders would be taken for fine detail.
    """
    values = image.astype(np.float64) - image.mean(dtype=np.float64)
    for axis, length in enumerate(values.shape):
        rim = min(width, length // 8)
        ramp = np.sin(np.pi / 2 * (np.arange(rim) + 0.5) / max(rim, 1)) ** 2
        window = np.concatenate([ramp, np.ones(length - 2 * rim), ramp[::-1]])
        values = values * np.expand_dims(window, 1 - axis)
    return values


def curve(image: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return d(r) of an image as it is, for radii as shares of Nyquist's frequency (eq. 12)."""
    spectrum = _spectrum(image)
    return np.interp(radii, spectrum.radius, _decorrelation(spectrum, None))


def _spectrum(image: np.ndarray) -> _Spectrum:
    rows, columns = image.shape
    modulus = np.abs(np.fft.fft2(image))
    y, x = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None]
    radius = 2 * np.hypot(y, x)  # 1 is Nyquist's frequency
    rings = max(rows, columns) // 2
    ring = np.rint(radius * rings).astype(int)
    inside = (ring <= rings) & (ring > 0)
    number, modulus = ring[inside], modulus[inside]

    def add(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(number, weights, rings + 1)

    return _Spectrum(np.arange(rings + 1) / rings, add(modulus), add(modulus**2), add(None))


def _decorrelation(spectrum: _Spectrum, sigma: float | None) -> np.ndarray:
    """Correlate the filtered spectrum with its own phases inside circles of growing radius.

    The product of a number with its phase is its modulus, so that sums of moduli are enough.
    """
    passed = np.ones_like(spectrum.radius)
    if sigma is not None:  # image minus its blur
        passed = 1 - np.exp(-2 * (np.pi * sigma * spectrum.radius / 2) ** 2)
    total = float((spectrum.power * passed**2).sum())
    covered = np.cumsum(spectrum.pixels)
    agreement = np.cumsum(spectrum.modulus * passed)
    return agreement / np.sqrt(np.maximum(total * covered, np.finfo(float).tiny))


def _peak(spectrum: _Spectrum, sigma: float | None) -> Peak:
    """Return the highest point of a curve behind which the curve falls."""
    d = _decorrelation(spectrum, sigma)
    ahead = np.minimum.accumulate(d[::-1])[::-1]
    falls = d - ahead >= LEAST_FALL
    rising = np.r_[True, d[1:] >= d[:-1]]
    crests = np.flatnonzero(falls & rising & np.r_[d[:-1] > d[1:], False])
    crests = crests[crests > 0]
    if not len(crests):
        return Peak(0.0, 0.0)
    top = crests[np.argmax(d[crests])]
    return Peak(_vertex(spectrum.radius, d, int(top)), float(d[top]))


def _vertex(radius: np.ndarray, d: np.ndarray, top: int) -> float:
    """Return the top of the parabola through a crest and its neighbours."""
    left, middle, right = d[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend else 0.0
    return float(radius[top] + shift * (radius[1] - radius[0]))


def _rank(peak: Peak, rule: Rule) -> float:
    if peak.height < LEAST_HEIGHT:
        return 0.0
    return peak.radius if rule == "highest" else peak.radius * peak.height
