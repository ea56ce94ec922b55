import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.measure import sequences


def followed(sent, acks=(), flows=None):
    """A direction from segments (seq, size) and acknowledgements (place among the packets, ack)."""
    packets = sorted(
        [(at, 0, seq, size) for at, (seq, size) in enumerate(sent)] + [(at, 1, ack, 0) for at, ack in acks],
        key=lambda each: each[:2],
    )
    kinds = np.array([kind for _, kind, _, _ in packets])
    numbers = np.array([number % 2**32 for _, _, number, _ in packets], np.uint32)
    sizes = np.array([size for _, _, _, size in packets], np.int64)
    segment, ack = np.flatnonzero(kinds == 0), np.flatnonzero(kinds == 1)
    flow = np.zeros(len(packets), np.int64) if flows is None else np.array(flows)
    return sequences.direction(
        flow, int(flow.max(initial=0)) + 1, segment, numbers[segment], sizes[segment], ack, numbers[ack]
    )


def test_in_order_everything_is_fresh():
    way = followed([(100, 10), (110, 20), (130, 5)])
    assert way.fresh.tolist() == [10, 20, 5]
    assert not way.retransmission.any()
    assert not way.out_of_order.any()


def test_what_fills_a_hole_is_no_retransmission_but_what_repeats_is():
    way = followed([(0, 10), (20, 10), (30, 10), (10, 10), (20, 10), (35, 10), (0, 50)])
    assert way.fresh.tolist() == [10, 10, 10, 10, 0, 5, 5]
    assert way.retransmission.tolist() == [False, False, False, False, True, False, False]
    assert way.out_of_order.tolist() == [False, False, False, True, False, False, False]


def test_what_precedes_the_first_packet_seen_was_not_seen():
    way = followed([(1000, 10), (990, 10), (990, 10)])
    assert way.retransmission.tolist() == [False, False, True]
    assert way.out_of_order.tolist() == [False, True, False]


def test_numbers_wrap_more_than_once():
    sent = [(at * 2**30, 2**30) for at in range(12)]
    way = followed([*sent, (11 * 2**30, 10)])
    assert way.fresh.tolist() == [2**30] * 12 + [0]


def test_flows_do_not_touch_one_another():
    way = followed([(5_000, 10), (5_010, 10), (0, 10), (10, 10), (0, 10)], flows=[0, 0, 1, 1, 1])
    assert way.retransmission.tolist() == [False, False, False, False, True]
    assert not way.out_of_order.any()


def test_round_trips_need_an_exact_end_and_no_doubt():
    sent = [(0, 10), (10, 10), (20, 10), (20, 10), (30, 10)]
    # after segment 1: 20; in the middle of nothing: 25; 30 was sent twice; 40 was sent once
    way = followed(sent, acks=[(1, 20), (2, 25), (3, 30), (4, 40)])
    t_ns = np.array([0, 100, 170, 200, 210, 300, 390, 400, 475])
    ack, elapsed = sequences.round_trips(way, t_ns)
    assert elapsed.tolist() == [70, 75]
    assert ack.tolist() == [2, 8]


def test_an_acknowledgement_that_waited_for_a_hole_is_no_sample():
    way = followed([(0, 10), (20, 10), (10, 10)], acks=[(2, 30)])
    assert sequences.round_trips(way, np.array([0, 1, 2, 3]))[1].tolist() == []


def test_duplicate_acknowledgements_repeat_with_data_outstanding():
    way = followed([(0, 10), (10, 10), (20, 10)], acks=[(0, 10), (1, 10), (2, 10), (2, 30), (2, 30)])
    bare = np.ones(8, np.bool_)
    window = np.full(8, 500, np.uint16)
    assert sequences.duplicate_acks(way, bare, window).tolist() == [3, 5]
    window[5] = 400  # a window update
    assert sequences.duplicate_acks(way, bare, window).tolist() == [3]
    bare[3] = False  # it carries data
    assert sequences.duplicate_acks(way, bare, window).tolist() == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_fresh_bytes_are_those_of_a_set_of_bytes(sent, base):
    way = followed([(base + start, size) for start, size in sent])
    seen = set()
    for index, (start, size) in enumerate(sent):
        covered = set(range(start, start + size))
        assert way.fresh[index] == len(covered - seen)
        assert way.retransmission[index] == (covered <= seen)
        seen |= covered


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 2**16), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_hostile_numbers_never_crash(sent):
    flows = sorted(flow for _, _, flow in sent)
    way = followed([(seq, size) for seq, size, _ in sent], flows=np.unique(flows, return_inverse=True)[1])
    assert (way.fresh >= 0).all()
