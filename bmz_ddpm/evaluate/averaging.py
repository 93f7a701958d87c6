"""What the gain from averaging samples says about the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Its rows in averaging.csv are mean squared errors, to which the law is fitted.
SQUARED_ERROR = "mse"


class Averaging(NamedTuple):
    """The error of an average of N samples, MSE = B + V/N.

    Attributes
    ----------
    bias : float
        B, squared counts: the error of infinitely many samples.
    variance : float
        V, squared counts: what one sample adds.
    gain_db : float
        PSNR of the largest average minus that of the smallest, from the means of the MSE.
    """

    bias: float
    variance: float
    gain_db: float

    @property
    def spread_over_error(self) -> float:
        """sqrt(V/B): 1 for samples of the true posterior."""
        return float(np.sqrt(self.variance / self.bias)) if self.bias > 0 else float("inf")

    @property
    def overconfidence(self) -> float:
        """The factor by which std maps are too small; infinite if averaging gains nothing."""
        return 1 / self.spread_over_error if self.variance > 0 else float("inf")


def fit_averaging(counts: Sequence[int], errors: Sequence[float]) -> Averaging:
    """Fit B and V to the mean square errors of averages.

    Parameters
    ----------
    counts : sequence of int
        Numbers of averaged samples.
    errors : sequence of float
        Mean square error of each, in squared counts.

    Notes
    -----
    Samples of the true posterior have B = V, a spread as large as the error; the std maps of
    others are too small by sqrt(B/V).

    References
    ----------
    Fortin et al. (2014), "Why should ensemble spread match the RMSE of the ensemble mean?",
    eqs. 12 to 15, which this solves for spread and error.
    """
    inverse = 1 / np.asarray(counts, np.float64)
    table = np.stack([np.ones_like(inverse), inverse], 1)
    (bias, variance), *_ = np.linalg.lstsq(table, np.asarray(errors, np.float64), rcond=None)
    bias, variance = (float(v) if v > 1e-9 * errors[0] else 0.0 for v in (bias, variance))
    return Averaging(bias, variance, float(10 * np.log10(errors[0] / errors[-1])))
