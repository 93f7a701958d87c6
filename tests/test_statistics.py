"""Tests of differences against tables that can be computed by hand."""

import numpy as np
import pytest
from scipy.stats import chi2, median_test

from bmz_ddpm.evaluate.statistics import mood_stars, paired_test, stars


def test_stars_are_those_of_the_paper() -> None:
    limits = (0.05, 0.0499, 0.01, 0.0099, 0.001, 0.00099)
    assert [stars(p) for p in limits] == ["", "*", "*", "**", "**", "***"]


def test_mood_is_the_chi_square_of_the_two_by_two_table() -> None:
    """With Yates' correction: n(|ad − bc| − n/2)² / product of the margins."""
    first = np.r_[np.arange(8), np.arange(100, 112)]
    second = np.r_[np.arange(10, 27), np.arange(200, 203)]
    middle = np.median(np.r_[first, second])
    a, b = int((first > middle).sum()), int((second > middle).sum())
    c, d = 20 - a, 20 - b
    square = 40 * (abs(a * d - b * c) - 20) ** 2 / ((a + b) * (c + d) * 20 * 20)
    assert mood_stars(first, second).p == pytest.approx(chi2.sf(square, 1))


@pytest.mark.parametrize(
    ("shift", "marks"), [(0.0, ""), (0.3, "*"), (0.36, "**"), (0.9, "***")], ids=str
)
def test_stars_stand_for_the_papers_limits(shift: float, marks: str) -> None:
    a = np.linspace(0, 1, 40)
    p = median_test(a, a + shift).pvalue
    assert mood_stars(a, a + shift) == (p, marks)


def test_mood_without_anything_to_test() -> None:
    assert mood_stars(np.ones(5), np.ones(5)) == (1.0, "")
    assert mood_stars(np.empty(0), np.arange(4.0)) == (1.0, "")
    assert mood_stars(np.full(3, np.inf), np.full(3, np.inf)) == (1.0, "")


def test_six_fields_that_all_gain_have_the_smallest_possible_p() -> None:
    """Two of 2^6 patterns of signs are as extreme."""
    gains = 1 + 0.1 * np.arange(6)
    result = paired_test(30 + gains, np.full(6, 30.0), np.arange(6))
    assert result.fields == 6
    assert result.p == pytest.approx(2 / 64)
    assert result.difference == pytest.approx(1.25)
    assert result.low is not None
    assert result.high is not None
    assert 1.0 <= result.low <= 1.25 <= result.high <= 1.5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_fields_have_neither_interval_nor_p(count: int) -> None:
    fields = np.repeat(np.arange(count), 9)
    values = 30.0 + fields
    result = paired_test(values, np.full(len(values), 20.0), fields)
    assert result == (count, pytest.approx(10 + (count - 1) / 2), None, None, None)


def test_methods_without_a_common_image() -> None:
    nothing = np.empty(0)
    result = paired_test(nothing, nothing, nothing.astype(int))
    assert (result.fields, result.p) == (0, None)
    assert np.isnan(result.difference)


def test_equal_and_infinite_results_give_no_nonsense() -> None:
    fields = np.arange(8)
    same = paired_test(np.ones(8), np.ones(8), fields)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    endless = paired_test(np.full(8, np.inf), np.ones(8), fields)
    assert (endless.difference, endless.p) == (np.inf, None)


def test_paired_interval_covers_the_true_difference() -> None:
    """Images of one field share its luck; the interval must not take them as independent."""
    rng, hits, widths = np.random.default_rng(0), 0, []
    fields = np.repeat(np.arange(12), 20)
    for seed in range(60):
        luck = rng.normal(size=12)[fields]
        each = 0.7 + luck + 0.1 * rng.normal(size=240)
        found = paired_test(each, np.zeros(240), fields, seed)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.7 <= found.high
        widths.append(found.high - found.low)
    assert 0.8 <= hits / 60 <= 1
    assert np.mean(widths) == pytest.approx(2 * 1.96 / 12**0.5, rel=0.25)


def test_the_interval_of_the_mean_is_as_wide_as_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 200)
    result = paired_test(values, np.zeros(200), np.arange(200))
    assert result.low is not None
    assert result.high is not None
    assert (result.high - result.low) / 2 == pytest.approx(
        1.96 * values.std() / np.sqrt(200), rel=0.05
    )
    assert paired_test(values, np.zeros(200), np.arange(200)) == result


def test_copies_of_a_file_change_nothing() -> None:
    """Fifty captures of a field are one field; Mood's test is fooled, this one is not."""
    gains, fields = 30 + np.array([0.3, -0.1, 0.2, 0.4, -0.2, 0.25]), np.arange(6)
    often, copies = gains.repeat(50), fields.repeat(50)
    once = paired_test(gains, np.full(6, 30.0), fields)
    assert paired_test(often, np.full(300, 30.0), copies).p == pytest.approx(once.p)
    fooled = mood_stars(often, 29.9 + np.arange(300) / 3000)
    honest = mood_stars(gains, 29.9 + np.arange(6) / 60)
    assert fooled.p < 0.001 < honest.p
