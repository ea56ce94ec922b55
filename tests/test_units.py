"""Quantities: what is read, what is refused, and that what is shown can be read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import units
from testbed.units import Duration, Queue, Rate, Share, Size, UnitError

WHOLE = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration, "10ms", 10_000_000),
        (Duration, "1.5 s", 1_500_000_000),
        (Duration, "2min", 120_000_000_000),
        (Duration, "250µs", 250_000),
        (Duration, 0, 0),
        (Rate, "100mbit", 100_000_000),
        (Rate, "1.5Gbit/s", 1_500_000_000),
        (Size, "64KiB", 65536),
        (Size, "64kB", 64000),
        (Share, "0.5%", 0.005),
        (Share, "100%", 1.0),
    ],
)
def test_a_quantity_is_read_with_its_unit(kind, text, value):
    assert kind.parse(text) == pytest.approx(value, abs=0)
    assert type(kind.parse(text)) is kind


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Duration, 10, "10 has no unit; did you mean 10ms or 10s?"),
        (Duration, "5m", "'5m' is ambiguous; did you mean 5min or 5ms?"),
        (Duration, "-1s", "'-1s' is negative; write a duration of at least 0"),
        (Duration, "0.4ns", "a duration of less than 1ns; write 0 or at least 1ns"),
        (Duration, "9" * 25 + "h", "is too much; write a duration of at most 2500000h"),
        (Duration, "9" * 5000 + "h", "is not a duration; write for example 10ms"),
        (Duration, "٣s", "'٣s' is not a duration; write for example 10ms"),
        (Duration, True, "true is not a duration; write for example 10ms"),
        (Duration, None, "nothing is not a duration; write for example 10ms"),
        (
            Rate,
            "10Mbps",
            "'10Mbps' is ambiguous; tc reads Mbps as bytes, others as bits: did you mean 10mbit?",
        ),
        (Rate, "10 furlongs", "'10 furlongs' has the unit furlongs, not one of bit, kbit"),
        (Share, 0.5, "0.5 has no unit; did you mean 50% or 0.5%?"),
        (Share, 5, "5 has no unit; did you mean 5%?"),
        (Share, "101%", "'101%' is too much; write a share of at most 100%"),
        (Size, "1e3B", "'1e3B' is not a size; write for example 64KiB"),
        (Queue, 50, "50 has no unit; did you mean 50p (packets), 50KiB or 50ms?"),
        (Queue, "0ms", "'0ms' leaves no room; write for example 100ms or 1p"),
        (Queue, "1.5p", "'1.5p' is no number of packets; write for example 200p"),
        (Queue, "-1ms", "'-1ms' is negative; write a duration of at least 0"),
        (Queue, "0KiB", "'0KiB' leaves no room; write for example 100ms or 1p"),
        (Queue, "0bdp", "'0bdp' leaves no room; write for example 100ms or 1p"),
        (Queue, "-2bdp", "'-2bdp' leaves no room; write for example 100ms or 1p"),
        (Queue, "1001bdp", "'1001bdp' is too much; write a queue of at most 1000bdp"),
        (Queue, "4294967296p", "'4294967296p' is no number of packets; write for example 200p"),
        (
            Queue,
            "5 pints",
            "'5 pints' has the unit pints, not one of p, bdp, B, kB, KB, MB, GB, KiB, MiB, GiB, ns",
        ),
        (Queue, [], "a list is not a queue; write for example 100ms or 200p or 64KiB or 1bdp"),
    ],
)
def test_what_is_no_quantity_says_what_to_write_instead(kind, text, message):
    with pytest.raises(UnitError) as refused:
        kind.parse(text)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 200
    assert kind.parse(refused.value.example)


@pytest.mark.parametrize("text", [Rate(5), Share(0.5)])
def test_a_quantity_of_another_kind_is_not_taken_for_one(text):
    with pytest.raises(UnitError):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.show_duration(1_500_000), "1.5ms"),
        (units.show_duration(0), "0s"),
        (units.show_duration(1_234_567), "1234.567us"),
        (units.show_duration(123_456_789_000_000), "123456.789s"),
        (units.show_duration(1), "1ns"),
        (units.show_rate(20_000_000), "20mbit"),
        (units.show_rate(0), "0bit"),
        (units.show_rate(1_234_567_000), "1234.567mbit"),
        (units.show_size(65536), "64KiB"),
        (units.show_size(62_500_000), "62.5MB"),
        (units.show_size(1514), "1514B"),
        (units.show_share(0.005), "0.5%"),
        (units.show_share(1e-9), "0.0000001%"),
        (units.show_share(1.0), "100%"),
    ],
)
def test_a_quantity_is_shown_shortly(shown, expected):
    assert shown == expected


@given(WHOLE)
def test_a_duration_that_is_shown_is_read_again(ns):
    assert Duration.parse(units.show_duration(ns)) == ns


@given(WHOLE)
def test_a_rate_that_is_shown_is_read_again(bps):
    assert Rate.parse(units.show_rate(bps)) == bps


@given(WHOLE)
def test_a_size_that_is_shown_is_read_again(size):
    assert Size.parse(units.show_size(size)) == size


@given(st.integers(0, 10**12).map(lambda parts: parts / 10**12))
def test_a_share_that_is_shown_is_read_again(share):
    assert Share.parse(units.show_share(share)) == share


@given(
    st.one_of(
        st.builds(Queue, packets=st.integers(1, 10**9)),
        st.builds(Queue, ns=st.integers(1, 10**15)),
        st.builds(Queue, size=st.integers(1, 10**12)),
        st.builds(Queue, bdp=st.integers(1, 10**9).map(lambda parts: parts / 10**6)),
    )
)
def test_a_queue_that_is_shown_is_read_again(queue):
    assert Queue.parse(queue.shown()) == queue


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.none(), st.booleans()))
def test_whatever_is_written_is_read_or_refused(text):
    for kind in (Duration, Rate, Size, Share, Queue):
        try:
            found = kind.parse(text).shown()
        except UnitError as refused:
            found = refused.hint
        assert found


@pytest.mark.parametrize(
    ("queue", "rate_bps", "round_trip_ns", "size"),
    [
        ("64KiB", 1, 0, 65536),
        ("100B", 10**9, 0, 100),
        ("100ms", 10**9, 0, 12_500_000),
        ("12112ns", 10**9, 0, 1514),
        ("12113ns", 10**9, 0, 1515),  # rounded up
        ("1ms", 1000, 0, 1514),  # room for one frame
        ("1bdp", 50_000_000, 40_000_000, 250_000),
        ("0.5bdp", 50_000_000, 40_000_000, 125_000),
        ("4bdp", 50_000_000, 40_000_000, 1_000_000),
        ("0.001bdp", 50_000_000, 40_000_000, 1514),
    ],
)
def test_a_queue_holds_so_many_bytes(queue, rate_bps, round_trip_ns, size):
    assert Queue.parse(queue).to_bytes(rate_bps, round_trip_ns) == size


@given(st.integers(1, 10**10), st.integers(1, 10**12))
def test_a_queue_of_a_time_holds_at_least_that_time(ns, rate_bps):
    size = Queue(ns=ns).to_bytes(rate_bps, 0)
    assert size * 8 * 10**9 >= ns * rate_bps
    assert size == 1514 or (size - 1) * 8 * 10**9 < ns * rate_bps
