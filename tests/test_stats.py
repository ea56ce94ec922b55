from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import stats


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 10), (0.95, 19), (0.951, 20), (1.0, 20), (0.0, 1), (0.05, 1), (0.051, 2)]
)
def test_a_percentile_is_the_nearest_rank(share, value):
    assert stats.percentile(list(range(20, 0, -1)), share) == value


def test_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        stats.percentile([], 0.5)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.integers(1, 100))
def test_a_percentile_was_observed_and_not_exceeded_by_its_share(values, percent):
    found = stats.percentile(values, percent / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_wilsons_interval_is_that_of_the_textbook():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = stats.share_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilsons_interval_stays_within_bounds():
    assert stats.share_interval(12, 12)[1] == 1.0
    assert stats.share_interval(0, 12)[0] == 0.0
    assert 0.7 < stats.share_interval(12, 12)[0] < 0.8


def test_the_bootstrap_holds_the_ratio_and_repeats():
    parts, wholes = [0, 1, 2, 3, 40, 0, 7], [100, 100, 90, 80, 120, 100, 100]
    low, high = stats.ratio_interval(parts, wholes)
    assert low < sum(parts) / sum(wholes) < high
    assert (low, high) == stats.ratio_interval(parts, wholes)
    assert (low, high) != stats.ratio_interval(parts, wholes, seed=1)


def test_the_bootstrap_of_equal_sessions_has_no_width():
    assert stats.ratio_interval([1, 1, 1], [10, 10, 10]) == (0.1, 0.1)


def test_numbers_as_people_read_them():
    assert stats.percent(0.00512) == "0.51%"
    assert stats.percent(1) == "100%"
    assert stats.milliseconds(1_234_567_890) == "1.235s"
    assert stats.milliseconds(1_234_567) == "1.235ms"


def test_the_bootstraps_interval_of_a_mean_is_that_of_the_normal_where_there_are_many():
    rng = random.Random(1)
    values = [rng.gauss(10, 2) for _ in range(400)]
    mean = sum(values) / 400
    low, high = stats.mean_interval(values)
    half = 1.96 * statistics.stdev(values) / 20
    assert (low, high) == (pytest.approx(mean - half, abs=0.02), pytest.approx(mean + half, abs=0.02))
    assert stats.mean_interval(values) == (low, high)
    assert stats.mean_interval([3.0]) == (3.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        stats.mean_interval([])


def test_pairing_sees_what_two_samples_would_hide():
    rng = random.Random(1)
    control = [rng.gauss(100, 30) for _ in range(20)]
    treated = [value + rng.gauss(2, 1) for value in control]
    told = stats.paired(treated, control)
    assert told.clear
    assert 1 < told.low < told.mean < told.high < 3
    assert told.within(3)
    assert not told.within(2)
    with pytest.raises(ValueError, match="longer"):
        stats.paired([1.0], [1.0, 2.0])
