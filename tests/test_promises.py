"""Bounds in closed form, and promises kept over many draws of fields."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from bmz_ddpm.calibrate.promises import (
    fields_needed,
    in_words,
    narrowest,
    p_value,
    refuse_too_few,
)
from bmz_ddpm.errors import DataError


@pytest.mark.parametrize(
    ("guarantee", "alpha", "delta", "count"),
    [
        ("rcps", 0.1, 0.1, 22),  # 0.9^22 = 0.0985, 0.9^21 = 0.109
        ("rcps", 0.5, 0.25, 2),  # 0.5^2 = 0.25: exactly enough
        ("rcps", 0.05, 0.1, 45),
        ("crc", 0.1, 0.1, 9),
        ("crc", 0.05, 0.9, 19),
        ("field", 0.1, 0.1, 9),
        ("field", 0.01, 0.5, 1),
        ("field", 0.1, 0.34, 2),
    ],
)
def test_fewest_fields(guarantee: str, alpha: float, delta: float, count: int) -> None:
    """The closed form agrees with trying: no pixel missed, one field fewer is not enough."""
    assert fields_needed(guarantee, alpha, delta) == count  # type: ignore[arg-type]
    perfect = np.zeros((count, 1))
    assert narrowest(perfect, guarantee, alpha, delta) == 0  # type: ignore[arg-type]
    if count > 1:
        assert narrowest(perfect[1:], guarantee, alpha, delta) is None  # type: ignore[arg-type]


def test_hoeffding_and_bentkus_in_closed_form() -> None:
    assert p_value(0.0, 30, 0.1) == pytest.approx(0.9**30)
    # 100 fields, risk 0.05: Hoeffding exp(-n·KL), Bentkus e·P(Binomial(100, 0.1) <= 5)
    divergence = 0.05 * math.log(0.5) + 0.95 * math.log(0.95 / 0.9)
    tail = sum(math.comb(100, k) * 0.1**k * 0.9 ** (100 - k) for k in range(6))
    assert p_value(0.05, 100, 0.1) == pytest.approx(min(math.exp(-100 * divergence), math.e * tail))
    assert p_value(0.05, 100, 0.1) == pytest.approx(math.e * tail)  # here Bentkus is the smaller
    assert p_value(0.005, 20, 0.1) == pytest.approx(
        math.exp(-20 * (0.005 * math.log(0.05) + 0.995 * math.log(0.995 / 0.9)))
    )  # and here Hoeffding
    assert p_value(0.1, 50, 0.1) == p_value(0.9, 50, 0.1) == 1.0


def test_rules_on_risks_that_can_be_counted() -> None:
    widths = np.arange(1, 11)
    needs = np.array([3, 5, 4, 8, 6, 2, 7, 9, 1])  # the width at which each field is covered
    risks = np.where(widths[None] >= needs[:, None], 0.05, 0.4)
    # rank ceil(10·(1 − delta)) of the nine: the 5th smallest is 5, the 9th is 9
    assert widths[narrowest(risks, "field", 0.1, 0.5)] == 5  # type: ignore[index]
    assert widths[narrowest(risks, "field", 0.1, 0.1)] == 9  # type: ignore[index]
    assert narrowest(risks, "field", 0.01, 0.1) is None
    # (9·risk + 1) / 10 <= 0.2: the sum may be 1, which is 8 fields at 0.05 and one at 0.4
    assert widths[narrowest(risks, "crc", 0.2, 0.1)] == 8  # type: ignore[index]
    rising = np.array([[0.0, 0.5, 0.0]] * 9)  # a narrower one that is better by chance is no use
    assert narrowest(rising, "crc", 0.1, 0.1) == 2


def fields_drawn(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """How hard fields are: the standard deviation of their errors."""
    return np.exp(0.4 * random.standard_normal(shape))


def risk_of(hard: np.ndarray, widths: np.ndarray) -> np.ndarray:
    return 2 * norm.sf(widths / hard[..., None])


@pytest.mark.parametrize("guarantee", ["field", "crc", "rcps"])
def test_promise_is_kept_over_many_draws(guarantee: str) -> None:
    """Calibrate on 30 fields, 200 times; look at new fields each time."""
    random = np.random.default_rng(5)
    widths, draws, count = np.geomspace(0.5, 12, 60), 200, 30
    alpha, delta = 0.1, 0.2
    new = fields_drawn(random, (4000,))
    average = risk_of(new, widths).mean(0)
    kept, missed = [], []
    for hard in fields_drawn(random, (draws, count)):
        chosen = narrowest(risk_of(hard, widths), guarantee, alpha, delta)  # type: ignore[arg-type]
        assert chosen is not None
        missed.append(average[chosen])
        kept.append((risk_of(new, widths[[chosen]]) <= alpha).mean())
    if guarantee == "crc":
        # at most alpha, and not lower than alpha − 2/(n + 1): theorem 2 of the paper
        assert alpha - 2 / (count + 1) <= np.mean(missed) <= alpha
    elif guarantee == "rcps":
        wrong = np.mean(np.array(missed) > alpha)
        assert wrong <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)
        assert np.mean(missed) < alpha
    else:  # exactly 1 − delta but for the rank that is rounded up, and the widths' grid
        error = 3 * np.std(kept) / np.sqrt(draws)
        assert 1 - delta - error <= np.mean(kept) <= 1 - delta + 1 / (count + 1) + 0.01 + error


def test_too_few_fields_are_refused() -> None:
    """--guarantee rcps: 8 fields of view are left …"""
    refuse_too_few(22, "rcps", 0.1, 0.1)
    with pytest.raises(DataError) as caught:
        refuse_too_few(8, "rcps", 0.1, 0.1)
    assert caught.value.problem == (
        "--guarantee rcps: 8 fields of view are left to calibrate on, with alpha 0.1 and delta "
        "0.1 22 are needed"
    )
    assert caught.value.fix == "add 14 more, or promise less: --guarantee field --delta 0.12"
    refuse_too_few(8, "field", 0.1, 0.12)
    with pytest.raises(DataError, match=r"crc: 8 fields .* with alpha 0\.1 9 are needed"):
        refuse_too_few(8, "crc", 0.1, 0.1)
    with pytest.raises(DataError, match="0 fields") as caught:
        refuse_too_few(0, "field", 0.1, 0.5)
    assert caught.value.fix == "add 1 more"


def test_promises_in_words() -> None:
    assert in_words("crc", 0.1, 0.1) == (
        "at least 90% of the pixels of a new field of view lie inside, on average over fields"
    )
    assert in_words("field", 0.1, 0.2) == (
        "in a new field of view at least 90% of the pixels lie inside, with a probability of 80%"
    )
    assert in_words("rcps", 0.2, 0.1).startswith("with 90% confidence, at least 80% of the pixels")
