from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import registry
from testbed.abrs import Sample, State
from testbed.abrs.bba import Bba
from testbed.abrs.bba_0 import Bba0
from testbed.abrs.bba_1 import Bba1
from testbed.abrs.bba_2 import Bba2
from testbed.abrs.bola import Bola, best_rung
from testbed.abrs.fixed import Fixed
from testbed.abrs.robust_mpc import RobustMpc
from testbed.abrs.throughput import Throughput
from testbed.job import Title
from testbed.units import Rate

SECOND = 10**9
LADDER = (235, 375, 560, 750, 1050, 1750, 2350, 3000)


def state(buffer_s, last, *, buffer_max_s=240, samples=(), segment_s=4, index=9, sizes=None, rates=LADDER):
    flat = tuple(rate * segment_s * 125 for rate in rates)
    title = Title(
        name="film",
        segment_ns=segment_s * SECOND,
        bitrates_kbps=rates,
        segment_bytes=sizes or (flat,) * 200,
    )
    return State(
        title=title,
        index=index,
        buffer_ns=round(buffer_s * SECOND),
        buffer_max_ns=buffer_max_s * SECOND,
        last_rung=last,
        samples=samples,
    )


def paper(buffer_s):
    """The paper's map: 240 s of buffer, a reservoir of 90 s, the cushion up to 216 s."""
    share = min(1, max(0, (buffer_s - 90) / (216 - 90)))
    return LADDER[0] + share * (LADDER[-1] - LADDER[0])


@pytest.mark.parametrize("buffer_s", [0, 45, 89.9, 90])
@pytest.mark.parametrize("last", [None, 0, 3, 7])
def test_bba_takes_the_lowest_bitrate_in_the_reservoir(buffer_s, last):
    assert Bba().choose(state(buffer_s, last)) == 0


@pytest.mark.parametrize("buffer_s", [216, 230, 236])
@pytest.mark.parametrize("last", [0, 3, 7])
def test_bba_takes_the_highest_bitrate_above_the_cushion(buffer_s, last):
    assert Bba().choose(state(buffer_s, last)) == len(LADDER) - 1


@given(buffer_s=st.floats(90.01, 215.99), last=st.integers(0, len(LADDER) - 1))
def test_bba_is_algorithm_1_of_the_paper(buffer_s, last):
    wanted = paper(buffer_s)
    higher = LADDER[min(last + 1, len(LADDER) - 1)]
    lower = LADDER[max(last - 1, 0)]
    chosen = LADDER[Bba().choose(state(buffer_s, last))]
    if wanted >= higher:
        assert chosen == max(rate for rate in LADDER if rate < wanted)
    elif wanted <= lower:
        assert chosen == min(rate for rate in LADDER if rate > wanted)
    else:
        assert chosen == LADDER[last]


def test_bba_keeps_its_bitrate_between_the_neighbours_of_the_map():
    # f is 750 at 113.5 s and 1050 at 127.1 s: with 750 last, nothing between 560 and 1050 changes it.
    assert [Bba().choose(state(buffer_s, 3)) for buffer_s in (105, 113.5, 120, 127)] == [3, 3, 3, 3]
    assert Bba().choose(state(127.4, 3)) == 4
    assert Bba().choose(state(104.7, 3)) == 2  # f is 558: the lowest above it is 560
    assert LADDER[Bba().choose(state(95, 3))] == 375


def test_bba_reaches_the_highest_bitrate_in_a_short_buffer():
    # The player asks with at most 30 - 4 s: 90 % of 30 s is out of its reach.
    assert Bba().choose(state(25.9, 6, buffer_max_s=30)) == len(LADDER) - 1
    assert Bba().choose(state(11.25, 6, buffer_max_s=30)) == 0


def test_bba_survives_a_buffer_of_three_segments():
    assert [Bba().choose(state(level, 3, buffer_max_s=12)) for level in (4, 4.6, 8)] == [0, 2, 7]


def sample(kbps, size=1_000_000):
    return Sample(size, round(size * 8 * 1e6 / kbps))


def test_throughput_starts_at_the_lowest():
    assert Throughput().choose(state(0, None)) == 0


def test_throughput_takes_the_harmonic_mean_of_the_last_five():
    samples = [sample(100), *(sample(kbps) for kbps in (1000, 4000, 4000, 4000, 4000))]
    # 5 / (1/1000 + 4/4000) = 2500 kbit/s, four fifths of which are 2000; the arithmetic mean is 3400.
    assert LADDER[Throughput().choose(state(10, 0, samples=samples))] == 1750


def test_throughput_leaves_a_margin():
    assert LADDER[Throughput().choose(state(10, 0, samples=[sample(2350 / 0.8 + 1)]))] == 2350
    assert LADDER[Throughput().choose(state(10, 0, samples=[sample(2350 / 0.8 - 1)]))] == 1750
    assert Throughput().choose(state(10, 7, samples=[sample(50)])) == 0


PARAMETERS = {"fixed": {"bitrate": 750_000}}


@given(
    buffer_s=st.floats(0, 30),
    last=st.none() | st.integers(0, len(LADDER) - 1),
    kbps=st.lists(st.floats(1, 1e6), max_size=8),
    index=st.integers(0, 199),
    name=st.sampled_from(sorted(registry.kinds("abrs"))),
)
def test_every_algorithm_chooses_a_rung(buffer_s, last, kbps, index, name):
    algorithm = registry.build("abrs", name, PARAMETERS.get(name, {}))
    asked = state(buffer_s, last, buffer_max_s=30, samples=[sample(rate) for rate in kbps], index=index)
    chosen = algorithm.choose(asked)
    assert 0 <= chosen < len(LADDER)
    assert chosen == algorithm.choose(asked)
    assert algorithm.ceiling_ns(asked) <= 26 * SECOND


def test_bba_is_bba_0():
    assert all(
        Bba().choose(state(buffer_s, last)) == Bba0().choose(state(buffer_s, last))
        for buffer_s in range(0, 240, 3)
        for last in (None, 0, 3, 7)
    )


def test_fixed_takes_what_is_not_above_it():
    chosen = [
        Fixed(bitrate=Rate(bps)).choose(state(100, 0)) for bps in (100_000, 750_000, 1_049_999, 9_000_000)
    ]
    assert [LADDER[rung] for rung in chosen] == [235, 750, 750, 3000]


# BBA-1.


def test_bba_1_reserves_what_the_lowest_bitrate_takes_out_at_its_own_capacity():
    flat = tuple(rate * 500 for rate in LADDER)
    # 20 of the next 120 chunks are half as large again: 20 x 2 s more than they play
    sizes = (tuple(size * 3 // 2 for size in flat),) * 20 + (flat,) * 180
    assert Bba1().reservoir_ns(state(100, 3, sizes=sizes, index=0)) == 40 * SECOND
    assert Bba1().reservoir_ns(state(100, 3, sizes=sizes, index=20)) == 8 * SECOND  # no less
    huge = (tuple(size * 4 for size in flat),) * 200
    assert Bba1().reservoir_ns(state(100, 3, sizes=huge, index=0)) == 140 * SECOND  # no more
    assert Bba1().reservoir_ns(state(10, 3, sizes=huge, index=0, buffer_max_s=24)) == 14 * SECOND


def test_bba_1_compares_the_map_with_the_chunks_that_come():
    flat = tuple(rate * 500 for rate in LADDER)
    big = tuple(size * 2 for size in flat)
    # At 112 s of (8, 216) the map is at half: 1617 kbit/s, which in flat chunks is between 1050 and 1750.
    assert LADDER[Bba1().choose(state(112, 0))] == 1050
    # Chunks twice as large: none above 750's is under it. One of 750 last stays: 560's is not above it.
    assert LADDER[Bba1().choose(state(112, 0, sizes=(flat,) * 9 + (big,) + (flat,) * 190))] == 750
    assert LADDER[Bba1().choose(state(112, 3, sizes=(flat,) * 9 + (big,) + (flat,) * 190))] == 750
    assert Bba1().choose(state(8, 5)) == 0
    assert Bba1().choose(state(216, 5)) == 7


def test_bba_1_protects_itself_by_400_ms_for_each_chunk_that_let_the_buffer_grow():
    grown = [Sample(1, 1, 0, level * SECOND) for level in range(100)]
    # 99 x 0.4 s: the reservoir ends at 47.6 s
    assert Bba1().choose(state(47.5, 5, samples=grown)) == 0
    assert Bba1().choose(state(47.5, 5)) > 0
    above = [Sample(1, 1, 0, level * SECOND) for level in range(180, 230)]  # 75 % are 180 s
    assert Bba1().choose(state(47.5, 5, samples=above)) > 0


# BBA-2.


def came(seconds, rung, buffer_s):
    """A chunk of 4 s that took so long, and the buffer after it."""
    return Sample(LADDER[rung] * 500, round(seconds * SECOND), rung, round(buffer_s * SECOND))


@pytest.mark.parametrize(
    ("took_s", "buffer_s", "chosen"),
    [
        (0.49, 0, 1),  # an empty buffer: more than 0.875 x 4 s gained, so under 0.5 s
        (0.51, 0, 0),
        (1.2, 108, 1),  # half the cushion: 0.6875 x 4 s, so under 1.25 s
        (1.3, 108, 0),
        (1.9, 215.99, 1),  # at its end: 0.5 x 4 s
    ],
)
def test_bba_2_starts_by_growth(took_s, buffer_s, chosen):
    # the buffer asked at is in the reservoir, so the map says the lowest
    assert Bba2().choose(state(4, 0, samples=[came(took_s, 0, buffer_s)])) == chosen


def test_bba_2_ends_its_start_where_the_buffer_shrinks():
    quick = [came(0.1, 0, 4), came(0.1, 1, 8), came(0.1, 2, 12)]
    assert Bba2().choose(state(7, 2, samples=quick)) == 3
    assert Bba2().choose(state(7, 2, samples=[*quick, came(4.1, 3, 7), came(0.1, 0, 7.5)])) == 0


def test_bba_2_goes_over_to_the_map_where_that_asks_for_more():
    slow = [came(3.9, 0, 120)]
    mapped = Bba1().choose(state(120, 0))
    assert Bba2().choose(state(120, 0, samples=slow)) == mapped > 0


# BOLA.


def test_bola_basic_is_the_map_of_the_paper():
    # Two rungs a < b change places where S_b (V (v_a + gp) - Q) = S_a (V (v_b + gp) - Q), solved by hand.
    sizes, gamma_p, most = (1.0, 2.0, 4.0), 5.0, 25 / 3
    weight = (most - 1) / (math.log(4) + gamma_p)
    first = weight * (gamma_p - math.log(2))  # of 1 and 2: 2 (V gp - Q) = V (ln 2 + gp) - Q
    second = weight * (gamma_p + 2 * math.log(2) - math.log(4))  # of 2 and 4: 2 (V (ln 2 + gp) - Q) = ...
    for held, rung in ((0, 0), (first - 0.01, 0), (first + 0.01, 1), (second - 0.01, 1), (second + 0.01, 2)):
        assert best_rung(sizes, held, most, gamma_p) == rung
    assert best_rung(sizes, most - 1, most, gamma_p) == 2  # nothing scores less than 0 where one may ask


@given(held=st.floats(0, 59), other=st.floats(0, 59))
def test_bola_never_goes_down_with_a_fuller_buffer(held, other):
    low, high = sorted((held, other))
    assert best_rung(LADDER, low, 60, 5) <= best_rung(LADDER, high, 60, 5)


def test_bola_u_goes_one_rung_above_what_is_sustainable_at_most():
    full = {"buffer_max_s": 60, "index": 100}
    free = Bola(variant="basic").choose(state(56, 2, **full))
    assert free == 7
    assert Bola().choose(state(56, 2, samples=[sample(1200)], **full)) == 5  # 1050 is, 1750 is one above
    assert Bola().choose(state(56, 6, samples=[sample(300)], **full)) == 6  # not above, not below the last
    assert Bola().choose(state(56, 7, samples=[sample(300)], **full)) == 7
    assert Bola().choose(state(0, 7, samples=[sample(9000)], **full)) == 0  # down at once


def test_bola_holds_less_near_the_ends_of_a_title():
    assert Bola().ceiling_ns(state(0, None, buffer_max_s=60, index=0)) == 2 * 4 * SECOND
    assert Bola().ceiling_ns(state(0, 0, buffer_max_s=60, index=100)) == (60 - 4) * SECOND
    assert Bola().ceiling_ns(state(0, 0, buffer_max_s=60, index=192)) == 3 * 4 * SECOND  # half of 8, less 1
    assert Bola(variant="basic").ceiling_ns(state(0, 0, buffer_max_s=60, index=0)) == 56 * SECOND


# RobustMPC.


def test_robust_mpc_expects_the_mean_less_its_worst_error():
    steady = [sample(2000)] * 6
    assert RobustMpc().expected_kbps(state(10, 0, samples=steady)) == pytest.approx(2000)
    # told 2000, came 1000: an error of 1, and a harmonic mean of five of 5 / (4/2000 + 1/1000)
    assert RobustMpc().expected_kbps(state(10, 0, samples=[*steady, sample(1000)])) == pytest.approx(
        5 / (4 / 2000 + 1 / 1000) / 2
    )


@given(
    buffer_s=st.floats(0, 30),
    last=st.integers(0, 3),
    kbps=st.floats(50, 5000),
    noise=st.lists(st.floats(0.5, 2), min_size=16, max_size=16),
)
def test_robust_mpc_finds_the_best_of_all_plans(buffer_s, last, kbps, noise):
    rates = (300, 750, 1850, 4300)
    sizes = tuple(
        tuple(round(rate * 500 * noise[number * 4 + rung]) for rung, rate in enumerate(rates))
        for number in range(4)
    )
    asked = state(buffer_s, last, buffer_max_s=30, samples=[sample(kbps)], index=0, sizes=sizes, rates=rates)
    expected = RobustMpc().expected_kbps(asked)

    def worth(plan):
        score, left, before = 0.0, asked.buffer_ns / 1e9, last
        for number, rung in enumerate(plan):
            took = sizes[number][rung] * 8 / 1000 / expected
            score += rates[rung] - abs(rates[rung] - rates[before]) - 3000 * max(0, took - left)
            left, before = min(30, max(0, left - took) + 4), rung
        return score

    plans = list(itertools.product(range(4), repeat=4))
    best = max(map(worth, plans))
    chosen = RobustMpc().choose(asked)
    assert max(worth(plan) for plan in plans if plan[0] == chosen) == pytest.approx(best, abs=1e-6)
