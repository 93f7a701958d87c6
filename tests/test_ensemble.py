"""CRPS and coverage against closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from bmz_ddpm.evaluate.ensemble import coverage, crps


def test_crps_is_the_sum_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    truth, samples = rng.normal(size=(4, 5)), rng.normal(size=(6, 4, 5))
    pairs = [np.abs(a - b).mean() for i, a in enumerate(samples) for b in samples[:i]]
    expected = np.abs(samples - truth).mean() - np.mean(pairs) / 2
    assert crps(truth, samples) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [2, 5, 15])
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.5, 1.0), (0.0, 2.0)])
def test_crps_of_a_normal_ensemble(count: int, shift: float, spread: float) -> None:
    """Gneiting and Raftery (2007), eq. 5: the closed form of a normal forecast, any N."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 300))
    samples = shift + spread * rng.normal(size=(count, *truth.shape))
    z = (truth - shift) / spread
    closed = spread * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps(truth, samples) == pytest.approx(closed.mean(), abs=0.01)


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("count", [2, 4, 15])
def test_coverage_of_a_calibrated_ensemble(count: int, level: float) -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(300, 300))
    samples = rng.normal(size=(count, *truth.shape))
    mean, std = samples.mean(0), samples.std(0)
    assert coverage(truth, mean, std, count, level) == pytest.approx(level, abs=0.006)
    assert coverage(truth, mean, std / 3, count, level) < level - 0.1


def test_one_sample_says_nothing() -> None:
    one = np.zeros((3, 3))
    assert np.isnan(crps(one, one[None]))
    assert np.isnan(coverage(one, one, one, 1))
