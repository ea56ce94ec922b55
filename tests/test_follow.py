"""What is said of segments, from rows made by hand: what was new, again or late, and round trips."""

import ctypes

import numpy as np
from captures import ACK, SYN
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.measure.native import ROW, SAMPLE, SUMMARY, copied, library, pointer
from testbed.measure.packets import ADDRESSED, FORWARD, IP, IS_TCP, PORTS, RETRANSMISSION

FROM, TO = (0, 40_000), (1, 443)


def followed(packets):
    """The rows, flows and samples of (t_ns, from the client, seq, size, ack, fields): ack None is no ACK."""
    rows = np.zeros(len(packets), ROW)
    rows["rtt_ns"], rows["has"] = -1, IP | ADDRESSED | PORTS | IS_TCP
    rows["proto"], rows["tcp_window"] = 6, 500
    for row, (t_ns, ahead, seq, size, ack, *more) in zip(rows, packets, strict=True):
        (src, sport), (dst, dport) = (FROM, TO) if ahead else (TO, FROM)
        row["t_ns"], row["src"], row["dst"], row["sport"], row["dport"] = t_ns, src, dst, sport, dport
        row["tcp_seq"], row["payload_length"] = seq % 2**32, size
        row["tcp_flags"], row["tcp_ack"] = 0 if ack is None else ACK, (ack or 0) % 2**32
        for name, value in dict(*more).items():
            row[name] = value
    c = library()
    follow = c.follow_new()
    try:
        assert c.follow(follow, pointer(rows), len(rows))
        samples = copied("follow_samples", follow, SAMPLE)
        summaries = np.empty(c.follow_count(follow), SUMMARY)
        c.follow_summaries(follow, pointer(summaries))
    finally:
        c.follow_free(ctypes.c_void_p(follow))
    return rows, summaries, samples


def sent(*segments):
    """The flow of segments (seq, size), and which were retransmissions."""
    rows, (flow,), _ = followed([(at, True, seq, size, 1) for at, (seq, size) in enumerate(segments)])
    return flow["forward"], (rows["has"] & RETRANSMISSION > 0).tolist()


def test_in_order_everything_is_new():
    total, again = sent((100, 10), (110, 20), (130, 5))
    assert (total["unique"], total["retransmitted"], total["out_of_order"]) == (35, 0, 0)
    assert not any(again)


def test_what_fills_a_hole_is_no_retransmission_but_what_repeats_is():
    total, again = sent((0, 10), (20, 10), (30, 10), (10, 10), (20, 10), (35, 10), (0, 50))
    assert again == [False, False, False, False, True, False, False]
    assert (total["unique"], total["out_of_order"]) == (50, 1)


def test_what_precedes_the_first_packet_seen_was_not_seen():
    total, again = sent((1000, 10), (990, 10), (990, 10))
    assert again == [False, False, True]
    assert total["out_of_order"] == 1


def test_numbers_wrap_more_than_once():
    total, again = sent(*[(at * 2**30, 2**30) for at in range(12)], (11 * 2**30, 10))
    assert total["unique"] == 12 * 2**30
    assert again == [False] * 12 + [True]


def test_round_trips_need_an_exact_end_and_no_doubt():
    packets = [
        (0, True, 0, 10, 1), (100, True, 10, 10, 1), (170, False, 1, 0, 20), (200, True, 20, 10, 1),
        (205, False, 1, 0, 25), (210, True, 20, 10, 1), (300, False, 1, 0, 30), (400, True, 30, 10, 1),
        (475, False, 1, 0, 40),
    ]  # fmt: skip
    rows, _, samples = followed(packets)
    assert samples["rtt_ns"].tolist() == [70, 75]
    assert rows["rtt_ns"].tolist() == [-1, -1, 70, -1, -1, -1, 100, -1, 75]


def test_an_acknowledgement_that_waited_for_a_hole_is_no_sample():
    packets = [(0, True, 0, 10, 1), (1, True, 20, 10, 1), (2, True, 10, 10, 1), (3, False, 1, 0, 30)]
    assert followed(packets)[2]["rtt_ns"].tolist() == []


def test_duplicate_acknowledgements_repeat_with_data_outstanding():
    packets = [(number, True, 10 * number, 10, 1) for number in range(3)]
    packets += [(5, False, 1, 0, 10), (6, False, 1, 0, 10), (7, False, 1, 0, 30), (8, False, 1, 0, 30)]
    assert followed(packets)[1]["backward"]["dup_acks"].tolist() == [1]
    packets[4] = (6, False, 1, 0, 10, {"tcp_window": 400})  # a window update
    assert followed(packets)[1]["backward"]["dup_acks"].tolist() == [0]


def test_a_segment_after_long_silence_is_a_timeouts():
    packets = [(0, True, 0, 10, 1), (199_999_999, True, 0, 10, 1), (500_000_000, True, 0, 10, 1)]
    assert followed(packets)[1]["forward"]["timeouts"].tolist() == [1]


def test_ports_used_again_are_another_flow_and_a_late_syn_of_the_first_is_not():
    syn = {"tcp_flags": SYN}
    packets = [
        (0, True, 100, 0, None, syn), (1, True, 900, 0, None, syn), (2, True, 100, 0, None, syn),
        (3, True, 901, 5, None), (4, False, 7, 0, 901, {"tcp_flags": SYN | ACK}),
    ]  # fmt: skip
    rows, flows, _ = followed(packets)
    assert rows["flow_id"].tolist() == [1, 2, 1, 2, 2]
    assert flows["isn"].tolist() == [100, 900]
    assert (rows["has"] & FORWARD > 0).tolist() == [True, True, True, True, False]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_new_bytes_are_those_of_a_set_of_bytes(segments, base):
    total, again = sent(*((base + start, size) for start, size in segments))
    seen = set()
    for (start, size), repeated in zip(segments, again, strict=True):
        covered = set(range(start, start + size))
        assert repeated == (covered <= seen)
        seen |= covered
    assert total["unique"] == len(seen)


WORDS = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-100, 10**12), st.booleans(), WORDS, st.integers(0, 2**16), st.none() | WORDS,
            st.fixed_dictionaries({"tcp_flags": st.integers(0, 511), "tcp_window": st.integers(0, 3),
                                   "sport": st.sampled_from([443, 40_000]), "payload_length": WORDS}),
        ),
        min_size=1,
        max_size=60,
    )
)  # fmt: skip
def test_hostile_numbers_never_crash(packets):
    rows, flows, samples = followed(packets)
    assert (rows["flow_id"] > 0).all()
    for way in ("forward", "backward"):
        assert (flows[way]["unique"] >= 0).all()
        assert (flows[way]["unique"] <= flows[way]["payload"]).all()
    assert (samples["flow"] <= len(flows)).all()
