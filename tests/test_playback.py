from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.services.playback import Moment, Playback

SECOND = 10**9


def playback(segments=10, capacity_s=30, startup_s=8, resume_s=4, start_ns=0):
    return Playback(
        start_ns,
        capacity_ns=capacity_s * SECOND,
        startup_ns=startup_s * SECOND,
        resume_ns=resume_s * SECOND,
        segment_ns=4 * SECOND,
        segments=segments,
    )


def test_it_starts_with_enough_and_stalls_at_the_exact_instant():
    buffer = playback()
    assert buffer.receive(1 * SECOND) == []
    assert buffer.receive(2 * SECOND) == [Moment("startup", 2 * SECOND, 8 * SECOND)]
    # Nobody looks for a minute; video ran out at 10 s all the same, and one segment is enough to resume.
    assert buffer.receive(60 * SECOND) == [
        Moment("stall", 10 * SECOND, 0),
        Moment("resume", 60 * SECOND, 4 * SECOND),
    ]
    assert buffer.played_ns == 8 * SECOND


def test_a_segment_in_the_last_instant_prevents_the_stall():
    buffer = playback()
    buffer.receive(0)
    buffer.receive(0)
    assert buffer.receive(8 * SECOND) == []
    assert buffer.level_ns(8 * SECOND) == 4 * SECOND


def test_it_finishes_when_the_last_segment_is_played():
    buffer = playback(segments=2)
    buffer.receive(0)
    buffer.receive(SECOND)
    assert buffer.advance(9 * SECOND) == [Moment("finish", 9 * SECOND, 0)]
    assert buffer.played_ns == 8 * SECOND
    with pytest.raises(ValueError, match="every segment"):
        buffer.receive(9 * SECOND)


def test_a_title_shorter_than_the_startup_plays():
    assert playback(segments=1).receive(SECOND) == [Moment("startup", SECOND, 4 * SECOND)]


def test_a_startup_larger_than_the_buffer_plays_when_that_is_full():
    buffer = playback(capacity_s=10, startup_s=60)
    buffer.receive(0)
    assert buffer.receive(0) == [Moment("startup", 0, 8 * SECOND)]


def test_room_comes_at_the_speed_of_time():
    buffer = playback(capacity_s=10, startup_s=4)
    buffer.receive(0)
    assert buffer.room_at_ns(0) == 0
    buffer.receive(0)
    assert buffer.room_at_ns(0) == 2 * SECOND
    assert buffer.room_at_ns(SECOND) == 2 * SECOND
    assert buffer.room_at_ns(3 * SECOND) == 3 * SECOND


def test_time_does_not_go_back():
    buffer = playback(start_ns=SECOND)
    with pytest.raises(ValueError, match="goes back by 1000000000 ns"):
        buffer.advance(0)


@given(
    gaps=st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=40),
    looks=st.lists(st.booleans(), min_size=40, max_size=40),
    capacity_s=st.integers(4, 40),
    startup_s=st.integers(1, 40),
    resume_s=st.integers(1, 12),
)
def test_video_is_neither_made_nor_lost(gaps, looks, capacity_s, startup_s, resume_s):
    """Played and buffered add up to received, waiting and playing to the time gone by."""
    buffer = playback(len(gaps), capacity_s, startup_s, resume_s)
    now_ns, moments = 0, []
    for received, (gap_ns, look) in enumerate(zip(gaps, looks, strict=False), 1):
        if look:
            moments += buffer.advance(now_ns + gap_ns // 2)
        now_ns += gap_ns
        moments += buffer.receive(now_ns)
        assert buffer.played_ns + buffer.level_ns(now_ns) == received * 4 * SECOND
    moments += buffer.advance(now_ns + 4 * len(gaps) * SECOND)
    assert buffer.played_ns == 4 * len(gaps) * SECOND
    kinds = [moment.event for moment in moments]
    stalls = kinds.count("stall")
    assert kinds == ["startup", *(["stall", "resume"] * stalls), "finish"]
    times = [moment.unix_ns for moment in moments]
    assert times == sorted(times)
    played_ns = sum(stopped - began for began, stopped in zip(times[::2], times[1::2], strict=True))
    assert played_ns == buffer.played_ns
