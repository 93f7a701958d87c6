"""The noise schedule, and every sampler as one small table of coefficients.

`alpha_bar` is the share of signal variance at each step. A sampler (ancestral DDPM,
DDIM, anything between, DPM-Solver++) is nothing but six numbers per step, so the exported graph has
one loop for all of them and this file, in float64, is the only place with the algebra.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Prediction = Literal["eps", "v", "x0", "flow"]
Spacing = Literal["log_snr", "time"]

#: Below this log(signal / noise variance) x_t tells nothing about the image any more.
LOWEST_LOG_SNR = -4.0

#: Columns of a step table: x0_hat = clamp(x·x_t + net·F), and then
#: x_prev = x0·x0_hat + keep·x_t + sigma·z + before·(x0_hat of the step before)
COLUMNS = ("x", "net", "x0", "keep", "sigma", "before")


@dataclass(frozen=True)
class Schedule:
    """The cosine variance schedule.

    Parameters
    ----------
    num_train_steps : int
        T, the number of noise levels.
    offset : float
        s, keeps the first step from being too small.

    References
    ----------
    Nichol, Dhariwal (2021), eq. 17 (beta clipped to 0.999). arXiv:2102.09672.
    The paper, section 3.4: T = 200, s = 8e-3.
    """

    num_train_steps: int = 200
    offset: float = 8e-3

    def alpha_bar(self) -> np.ndarray:
        """Return (T + 1,) float64: alpha_bar of step 0 (exactly 1) to step T."""
        t = np.arange(self.num_train_steps + 1) / self.num_train_steps
        f = np.cos((t + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        beta = np.clip(1 - f[1:] / f[:-1], 0, 0.999)
        return np.concatenate([[1.0], np.cumprod(1 - beta)])

    def sampled_alpha_bar(self, num_steps: int, spacing: Spacing) -> np.ndarray:
        """Return (num_steps + 1,) float64: alpha_bar at each visited level, T first, 1 last.

        Parameters
        ----------
        num_steps : int
            1 to T.
        spacing : "log_snr" or "time"
            "time" visits every (T / num_steps)-th step, as the paper does with all 200.
            "log_snr" goes from T straight to `LOWEST_LOG_SNR` and on to step 1 in equal steps of
            log(SNR). What is left to decide in a microscope image is fine and faint, and that
            is decided at high SNR: for Gaussian data with a standard deviation of 0.03 (of a
            range from -1 to 1), 10 steps draw 17 % of the true spread with "time" and 76 % with
            "log_snr" (DDIM; closed form, see the tests).

        Raises
        ------
        ValueError
            If `num_steps` is not between 1 and T.
        """
        if not 1 <= num_steps <= self.num_train_steps:
            raise ValueError(f"num_steps={num_steps}: must be 1 to {self.num_train_steps}")
        bar = self.alpha_bar()
        if spacing == "time":
            steps = np.rint(np.linspace(self.num_train_steps, 0, num_steps + 1)).astype(np.int64)
            return bar[steps]
        highest, second = (float(np.log(b / (1 - b))) for b in (bar[1], bar[-2]))
        lowest = min(max(LOWEST_LOG_SNR, second), highest)
        levels = np.linspace(highest, lowest, num_steps - 1)[::-1]
        return np.concatenate([bar[-1:], 1 / (1 + np.exp(-levels)), [1.0]])


def predict_x0(alpha_bar: np.ndarray, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the two weights of x0_hat = a·x_t + b·F for what the network F predicts.

    References
    ----------
    eps: the paper, eq. 2. v: Salimans, Ho (2022), section 4. arXiv:2202.00512.
    flow: the velocity eps − x0 of a straight path from image to noise, over √2 (unit variance);
    Liu, Gong, Liu (2022), eq. 1. arXiv:2209.03003. Such a path is x_t over (signal + noise), so
    every sampler here takes it, and DDIM is its Euler method.
    """
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    if prediction == "eps":
        return 1 / signal, -noise / signal
    if prediction == "v":
        return signal, -noise
    if prediction == "flow":
        return 1 / (signal + noise), -math.sqrt(2) * noise / (signal + noise)
    return np.zeros_like(signal), np.ones_like(signal)


def step_table(
    alpha_bar: np.ndarray, prediction: Prediction, eta: float, order: int = 1
) -> np.ndarray:
    """Return the coefficients of a whole sampler.

    With ``eta=1`` this is the ancestral sampler with the *posterior* variance
    beta_t·(1 − alpha_bar_prev)/(1 − alpha_bar_t); with ``eta=0`` deterministic DDIM. The
    paper's eq. 5 prints (1 − alpha_bar_t) for the variance and eq. 7 adds noise at the last
    step too; its released code uses the posterior variance and none at the end, as here.

    With ``order=2`` the estimate of the clean image is extrapolated from this step and the one
    before, to the middle of the step in log(SNR): DPM-Solver++(2M), with ``eta=1`` its SDE
    variant. The first and the last step stay of first order.

    Parameters
    ----------
    alpha_bar : (num_steps + 1,) float64
        From `Schedule.sampled_alpha_bar`.
    prediction : "eps", "v", "x0" or "flow"
        What the network returns.
    eta : float
        0 to 1: share of the posterior's standard deviation that is drawn afresh.
    order : 1 or 2

    Returns
    -------
    (num_steps, 6) float64, columns `COLUMNS`.

    References
    ----------
    Song, Meng, Ermon (2021), eqs. 12 and 16. arXiv:2010.02502.
    Ho, Jain, Abbeel (2020), eqs. 6 and 7. arXiv:2006.11239.
    Lu et al. (2022), DPM-Solver++, algorithm 2 and eq. 18. arXiv:2211.01095.
    """
    now, prev = alpha_bar[:-1], alpha_bar[1:]
    x_weight, net_weight = predict_x0(now, prediction)
    sigma = eta * np.sqrt((1 - prev) / (1 - now) * (1 - now / prev))
    direction = np.sqrt(np.clip(1 - prev - sigma**2, 0, None))  # weight of eps_hat
    # eps_hat = (x_t − sqrt(now)·x0_hat) / sqrt(1 − now), so the step is linear in x0_hat and x_t
    keep = direction / np.sqrt(1 - now)
    x0 = np.sqrt(prev) - keep * np.sqrt(now)
    before = np.zeros_like(x0)
    if order == 2 and len(now) > 2:
        half_log_snr = 0.5 * np.log(now / (1 - now))
        h = np.diff(half_log_snr)  # of steps 1 to n − 1; the last one would go to infinity
        share = np.zeros_like(x0)
        share[1:-1] = h[1:] / (2 * h[:-1])
        before = -share * x0
        x0 = (1 + share) * x0
    return np.stack([x_weight, net_weight, x0, keep, sigma, before], axis=1)
