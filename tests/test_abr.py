from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.job import Title
from testbed.services.abr import ABRS, Bba, Sample, State, Throughput

SECOND = 10**9
LADDER = (235, 375, 560, 750, 1050, 1750, 2350, 3000)


def state(buffer_s, last, *, buffer_max_s=240, samples=(), segment_s=4):
    title = Title(name="film", segment_ns=segment_s * SECOND, bitrates_kbps=LADDER, segment_bytes=())
    return State(
        title=title,
        index=9,
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


@given(
    buffer_s=st.floats(0, 30),
    last=st.none() | st.integers(0, len(LADDER) - 1),
    kbps=st.lists(st.floats(1, 1e6), max_size=8),
    name=st.sampled_from(sorted(ABRS)),
)
def test_every_algorithm_chooses_a_rung(buffer_s, last, kbps, name):
    chosen = ABRS[name]().choose(
        state(buffer_s, last, buffer_max_s=30, samples=[sample(rate) for rate in kbps])
    )
    assert 0 <= chosen < len(LADDER)
