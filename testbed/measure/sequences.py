"""TCP's sequence numbers tell, at one capture point, what was new, repeated, late or acknowledged.

Everything is computed per direction on unwrapped sequence numbers, so that a flow may be longer
than 4 GiB. A *segment* here is a packet that takes up sequence space: data, SYN or FIN.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Direction:
    """What one direction of all flows sent, and what the other direction acknowledged of it.

    `segment` and `ack` are indices of packets sorted by flow, in time; `base` holds the raw first
    sequence number of each flow. `start`, `end` and `acked` are unwrapped and made distinct between
    flows by adding `spread` times the flow's number, so that they rise from flow to flow.
    """

    segment: Ints
    start: Ints
    end: Ints
    before: Ints  # the highest end of the flow's earlier segments
    fresh: Ints  # how much of the sequence space had not been seen before
    retransmission: Bools  # nothing fresh
    out_of_order: Bools  # fills a hole: it was sent, or lost and sent again, before this point
    ack: Ints
    acked: Ints
    acked_before: Ints  # the highest acknowledgement of the flow before this one


def direction(
    flow: Ints,
    flows: int,
    segment: Ints,
    seq: npt.NDArray[np.uint32],
    size: Ints,
    ack: Ints,
    acked: npt.NDArray[np.uint32],
) -> Direction:
    """Follow one direction: `segment`s with their `seq` and `size`, and the other side's `ack`s.

    `flow` numbers the flow of every packet from 0; `segment` and `ack` are ascending indices into
    it. Acknowledgements of flows of which no segment was seen are left out.
    """
    owner = flow[segment]
    first = np.diff(owner, prepend=-1) != 0
    start = _unwrapped(seq, first)
    base = np.zeros(flows, np.uint32)
    base[owner[first]] = seq[first]
    known = np.zeros(flows, np.bool_)
    known[owner] = True

    heard = known[flow[ack]]
    ack, acked = ack[heard], acked[heard]
    acker = flow[ack]
    acker_first = np.diff(acker, prepend=-1) != 0
    jump = (acked - base[acker]).astype(np.uint32).view(np.int32).astype(np.int64)
    reached = _unwrapped(acked, acker_first) + _held(jump, acker_first)

    # Hostile sequence numbers may run away; what lies beyond the spread is clipped, not mixed up.
    most = (1 << 62) // (flows + 1)
    values = np.concatenate([start + size, -start, reached, -reached, [1]])
    spread = min(2 * int(values.max()) + 2, most)
    limit = spread // 2 - 1
    start = np.clip(start, -limit, limit) + owner * spread
    end = np.minimum(start + size, owner * spread + limit)
    reached = np.clip(reached, -limit, limit) + acker * spread

    before = _highest_before(end, first, start)
    fresh, late = _fresh(start, end, before, first)
    return Direction(
        segment=segment,
        start=start,
        end=end,
        before=before,
        fresh=fresh,
        retransmission=fresh == 0,
        out_of_order=late & (fresh > 0),
        ack=ack,
        acked=reached,
        acked_before=np.maximum(_highest_before(reached, acker_first, acker * spread), acker * spread),
    )


def round_trips(way: Direction, t_ns: Ints) -> tuple[Ints, Ints]:
    """Round-trip times at this point: the packets that acknowledged, and nanoseconds since the data.

    A sample is an acknowledgement that ends where a segment ended. There is none if it newly covers
    bytes that were retransmitted or came late: which transmission it answers, or how long it waited
    for a hole to fill, cannot be told (Karn & Partridge 1987; RFC 6298, section 3).
    """
    unsure = way.retransmission | way.out_of_order
    newest = way.end > way.before
    ends, sent = way.end[newest], t_ns[way.segment[newest]]
    advancing = way.acked > way.acked_before
    ack, reached, since = way.ack[advancing], way.acked[advancing], way.acked_before[advancing]
    if not len(ends):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(ends, reached), len(ends) - 1)
    taken = np.sort(way.start[unsure])
    left = np.sort(way.end[unsure])
    doubtful = np.searchsorted(taken, reached, "left") > np.searchsorted(left, since, "right")
    elapsed = t_ns[ack] - sent[at]
    sample = (ends[at] == reached) & ~doubtful & (elapsed >= 0)
    return ack[sample], elapsed[sample]


def duplicate_acks(way: Direction, bare: Bools, window: npt.NDArray[np.uint16]) -> Ints:
    """The packets that are duplicate acknowledgements as RFC 5681, section 2, defines them.

    `bare` says of every packet that it has no data, SYN, FIN or RST; `window` is its raw window.
    """
    if not len(way.ack) or not len(way.segment):
        return np.empty(0, np.int64)
    same_window = np.diff(window[way.ack].astype(np.int64), prepend=-1) == 0
    latest = np.searchsorted(way.segment, way.ack) - 1
    sent = np.maximum(way.end, way.before)[np.maximum(latest, 0)]
    # The latest segment may be another flow's; its end is then below this flow's numbers.
    outstanding = (latest >= 0) & (sent > way.acked)
    again = (way.acked == way.acked_before) & same_window & outstanding & bare[way.ack]
    repeated: Ints = way.ack[again]
    return repeated


def _unwrapped(numbers: npt.NDArray[np.uint32], first: Bools) -> Ints:
    """Numbers modulo 2^32 as distances from the first of each group."""
    steps = np.diff(numbers, prepend=numbers[:1]).astype(np.uint32).view(np.int32).astype(np.int64)
    steps[first] = 0
    run = np.cumsum(steps)
    unwrapped: Ints = run - _held(run, first)
    return unwrapped


def _held(values: Ints, first: Bools) -> Ints:
    """For every entry the value at the first of its group."""
    starts = np.flatnonzero(first)
    return np.repeat(values[starts], np.diff(starts, append=len(values)))


def _highest_before(values: Ints, first: Bools, otherwise: Ints) -> Ints:
    """The highest value of the group before each entry; values rise from group to group."""
    highest = np.empty_like(values)
    highest[1:] = np.maximum.accumulate(values)[:-1]
    highest[first] = otherwise[first]
    return highest


def _fresh(start: Ints, end: Ints, before: Ints, first: Bools) -> tuple[Ints, Bools]:
    """How much of each segment is new, and whether some of that lies below the highest end before.

    In order, all is new. Only the others are walked one by one, with the list of holes they leave
    and fill; it is kept in ascending order.
    """
    fresh = end - start
    late = np.zeros(len(start), np.bool_)
    group = np.cumsum(first)
    unusual = np.flatnonzero((start != before) & ~first)
    current = -1
    lows: list[int] = []
    highs: list[int] = []
    columns = (unusual, group[unusual], start[unusual], end[unusual], before[unusual])
    for index, owner, low, high, top in zip(*(column.tolist() for column in columns), strict=True):
        if owner != current:  # what was sent before the first packet seen is a hole, too
            current, lows, highs = owner, [-(1 << 62)], [int(start[np.searchsorted(group, owner)])]
        if low > top:
            lows.append(top)
            highs.append(low)
            continue
        begin, stop = bisect_right(highs, low), bisect_left(lows, high)
        filled, left = 0, []
        for hole_low, hole_high in zip(lows[begin:stop], highs[begin:stop], strict=True):
            filled += min(hole_high, high) - max(hole_low, low)
            left += [(hole_low, low)] if hole_low < low else []
            left += [(high, hole_high)] if high < hole_high else []
        if begin < stop:
            lows[begin:stop] = [each[0] for each in left]
            highs[begin:stop] = [each[1] for each in left]
        fresh[index] = filled + max(high - top, 0)
        late[index] = filled > 0
    return fresh, late
