"""Do all formats give the same image? Measured, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ExportError
from ..runtime.backends import INTERVAL, OUTPUTS, Backend

#: |difference| may be ABSOLUTE + RELATIVE·|reference|, of images scaled to 0..1. This is what
#: the zoo's check of deepImageJ allows.
ABSOLUTE, RELATIVE = 1.5e-4, 1e-4
#: A rounding difference moves a sample into the next 8-bit bin now and then, and the entropy of
#: that pixel jumps: this share of pixels may differ.
ENTROPY_SHARE = 0.001


@dataclass(frozen=True)
class Parity:
    """Largest differences from eager.

    Attributes
    ----------
    denoised, std : float
        As a share of the output range (an 8-bit image scaled to 1).
    entropy : float
        Share of pixels that differ by more than 1e-3 nats.
    excess : float
        Largest |difference| / allowed difference of all but the entropy; at most 1 passes.
    interval : float or None
        Of lower and upper, as a share of the output range; None where there are none.
    """

    denoised: float
    std: float
    entropy: float
    excess: float
    interval: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the format agrees."""
        return self.excess <= 1 and self.entropy <= ENTROPY_SHARE


def compare(
    reference: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...], scale: float
) -> Parity:
    """Compare two tuples of outputs (denoised, std, entropy, and perhaps lower, upper).

    Parameters
    ----------
    scale : float
        Range of the denoised image in counts.

    Raises
    ------
    ExportError
        If shapes differ or an output is not finite.
    """
    names = (OUTPUTS + INTERVAL)[: len(reference)]
    for name, a, b in zip(names, reference, other, strict=True):
        if a.shape != b.shape:
            raise ExportError(
                f"output {name}: shape {b.shape}, eager gives {a.shape}", "report this as a bug"
            )
        if not np.isfinite(b).all():
            raise ExportError(f"output {name}: holds NaN or infinity", "report this as a bug")
    ratios = []
    largest = []
    counts = [i for i, name in enumerate(names) if name != "entropy"]
    for a, b in ((reference[i], other[i]) for i in counts):
        difference = np.abs(a.astype(np.float64) - b) / scale
        allowed = ABSOLUTE + RELATIVE * np.abs(a) / scale
        ratios.append(float((difference / allowed).max()))
        largest.append(float(difference.max()))
    entropy = float((np.abs(reference[2] - other[2]) > 1e-3).mean())
    interval = max(largest[2:], default=None)
    return Parity(largest[0], largest[1], entropy, max(ratios), interval)


def require_agreement(
    reference: tuple[np.ndarray, ...],
    image: np.ndarray,
    formats: dict[str, Backend],
    scale: float,
) -> dict[str, Parity]:
    """Run every format on one image and refuse if any differs from eager.

    Parameters
    ----------
    reference : tuple of arrays
        What eager makes of the image.
    image : (B, C, Y, X) float32
        In counts.

    Returns
    -------
    dict of Parity
        By format.

    Raises
    ------
    ExportError
        Names the format and the difference.
    """
    parities = {}
    for name, backend in formats.items():
        parity = compare(reference, backend(image), scale)
        if not parity.passed:
            raise ExportError(
                f"{name}: differs from eager by {parity.denoised:.1e} (denoised), "
                f"{parity.std:.1e} (std){_of_interval(parity)} of the range and in "
                f"{parity.entropy:.2%} of the entropy map, allowed are {ABSOLUTE:.1e} + "
                f"{RELATIVE:.0e} of the value and {ENTROPY_SHARE:.1%}; nothing was written",
                "train longer, or use fewer steps",
            )
        parities[name] = parity
    return parities


def _of_interval(parity: Parity) -> str:
    return "" if parity.interval is None else f", {parity.interval:.1e} (lower, upper)"
