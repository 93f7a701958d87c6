"""Tests of differences against tables that can be computed by hand."""

import numpy as np
import pytest
from scipy.stats import chi2

from bmz_ddpm.evaluate.statistics import field_means, mood_median, paired, stars


def test_stars_are_those_of_the_paper() -> None:
    limits = (0.05, 0.0499, 0.01, 0.0099, 0.001, 0.00099)
    assert [stars(p) for p in limits] == ["", "*", "*", "**", "**", "***"]
    assert stars(None) == ""


def test_mood_is_the_chi_square_of_the_two_by_two_table() -> None:
    """With Yates' correction: n(|ad − bc| − n/2)² / product of the margins."""
    first = np.r_[np.arange(8), np.arange(100, 112)]
    second = np.r_[np.arange(10, 27), np.arange(200, 203)]
    middle = np.median(np.r_[first, second])
    a, b = int((first > middle).sum()), int((second > middle).sum())
    c, d = 20 - a, 20 - b
    square = 40 * (abs(a * d - b * c) - 20) ** 2 / ((a + b) * (c + d) * 20 * 20)
    assert mood_median(first, second) == pytest.approx(chi2.sf(square, 1))


@pytest.mark.parametrize("values", [([], [1.0]), ([2.0, 2.0], [2.0]), ([float("nan")], [1.0])])
def test_mood_without_anything_to_test(values) -> None:  # type: ignore[no-untyped-def]
    assert mood_median(*values) is None


def test_files_of_a_field_are_averaged_first() -> None:
    rows = [("a", 1.0), ("a", 3.0), ("b", 5.0), ("b", float("inf")), ("c", float("nan"))]
    assert field_means(rows) == {"a": 2.0, "b": 5.0}


def test_six_fields_that_all_gain_have_the_smallest_possible_p() -> None:
    """Two of 2^6 patterns of signs are as extreme."""
    first = {str(i): 30.0 + i for i in range(6)}
    second = {str(i): 29.0 + 0.9 * i for i in range(6)}
    result = paired(first, second)
    assert result.fields == 6
    assert result.p == pytest.approx(2 / 64)
    assert result.difference == pytest.approx(1.25)
    assert result.low is not None
    assert 1.0 <= result.low <= 1.25 <= (result.high or 0) <= 1.5
    assert result.note == ""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_fields_have_no_p(count: int) -> None:
    first = {str(i): 30.0 + i for i in range(count)}
    result = paired(first, dict.fromkeys(first, 20.0))
    assert result.p is None
    assert result.note.startswith(f"{count} independent field")
    assert "no p-value, with fewer than 6 none can be below .05" in result.note
    assert (result.low is None) == (count < 2)


def test_methods_without_a_common_field() -> None:
    assert paired({"a": 1.0}, {"b": 1.0}).note == "the methods share no field"


def test_equal_methods_do_not_differ() -> None:
    same = {str(i): float(i) for i in range(8)}
    result = paired(same, same)
    assert (result.p, result.difference, result.low, result.high) == (1.0, 0.0, 0.0, 0.0)


def test_the_interval_of_the_mean_is_as_wide_as_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    values = {str(i): v for i, v in enumerate(rng.normal(1.0, 2.0, 200))}
    result = paired(values, dict.fromkeys(values, 0.0), statistic="mean")
    error = np.std(list(values.values())) / np.sqrt(200)
    assert result.low is not None
    assert result.high is not None
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert paired(values, dict.fromkeys(values, 0.0), statistic="mean") == result


def test_copies_of_a_file_change_nothing() -> None:
    """Fifty captures of a field are one field; Mood's test is fooled, this one is not."""
    gains = {"a": 0.3, "b": -0.1, "c": 0.2, "d": 0.4, "e": -0.2, "f": 0.25}
    once = [(f, 30 + g) for f, g in gains.items()]
    often = [row for row in once for _ in range(50)]
    base = dict.fromkeys(gains, 30.0)
    assert paired(field_means(often), base).p == pytest.approx(paired(field_means(once), base).p)
    fooled = mood_median([v for _, v in often], [29.9 + i / 3000 for i in range(300)])
    honest = mood_median([v for _, v in once], [29.9 + i / 60 for i in range(6)])
    assert fooled is not None
    assert honest is not None
    assert fooled < 0.001 < honest
