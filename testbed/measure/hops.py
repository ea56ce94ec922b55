"""A hop is a packet's way through a node and onto its next link: queueing, shaping, or loss.

Captures are taken behind the sender's queue, and the wire takes no time. So a packet seen on its
way to node X arrives there at that instant, and what passes until it is seen on a link leaving X
is X's forwarding and the emulated queue, rate, delay and jitter of that link. The first link out
of a host has no earlier sight, so it has no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ctypes import byref, c_int32
from io import FileIO

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.job import Job
from testbed.measure.addresses import Addresses
from testbed.measure.capture import Spooled
from testbed.measure.native import HOP, ROW, SOURCE, library, pointer
from testbed.measure.points import own_addresses

IN_FLIGHT_NS = 2_000_000_000  # a packet this close to the end of the captures may yet have come
HELD_NS = 60_000_000_000  # longer no packet lives (as in Linux: TCP_TIMEWAIT_LEN); then it was lost
MOST = 1 << 17  # hops made at a time
ROWS = 1 << 18  # rows read at a time, of all captures together
_GROUP, _OWN = 2, 1
_ALL_GIVEN, _NO_MEMORY = -1, -3
_LOST = np.iinfo(np.int64).min
_NEVER = np.iinfo(np.int64).max

Numbers = npt.NDArray[np.uint32]


def hops(
    captures: Sequence[Spooled],
    codes: Sequence[Numbers],
    flow_ids: Sequence[Numbers],
    job: Job,
    addresses: Addresses,
    end_ns: int,
) -> Iterator[pl.DataFrame]:
    """The hops through each node, node by node, in the order in which packets reached it.

    `codes` and `flow_ids` say what each capture's own numbers are in the run. Arrival and departure
    are the same packet if all agrees that no hop changes; of equal ones under way at once, the one
    whose delay is nearest to the last on that link, and the hop is `ambiguous`. A packet to one of
    the node's own addresses, to a group, to a neighbour (link-local), or without an IP header is no
    hop. One that does not leave is lost, unless it arrived in the last two seconds before `end_ns`;
    its link is the one that its flow (or its destination) took before, or else after. Where that is
    unknown the link is null, or, if not all the node's links were captured, there is no row, for it
    may have left unseen.
    """
    captured = {each.point.link for each in captures}
    for name in sorted({node for each in captures for node in (each.point.node, each.point.peer)}):
        beside = [n for n, each in enumerate(captures) if name in (each.point.node, each.point.peer)]
        node = job.node(name)
        crossing = _Crossing(
            name, [captures[n] for n in beside], [codes[n] for n in beside], [flow_ids[n] for n in beside]
        )
        here, groups = addresses.flags(own_addresses(node)), addresses.not_forwarded()
        all_seen = {each.link for each in node.interfaces} <= captured
        links = pl.Series([captures[n].point.link for n in beside], dtype=pl.String)
        ends = pl.Series([_other(captures[n], name) for n in beside], dtype=pl.String)
        for found in crossing.run(here, groups, end_ns, all_seen):
            source = pl.Series(found["source"])
            source = source.set(source < 0, None)
            yield (
                pl.DataFrame(
                    {
                        "link": links.gather(source),
                        "from": pl.repeat(name, len(found), eager=True),
                        "to": ends.gather(source),
                        "flow_id": found["flow_id"],
                        "sent_ns": found["sent_ns"],
                        "received_ns": found["received_ns"],
                        "ambiguous": found["ambiguous"] > 0,
                    }
                )
                .with_columns(
                    pl.when(pl.col("flow_id") > 0).then("flow_id").alias("flow_id"),
                    pl.when(pl.col("received_ns") != _LOST).then("received_ns").alias("received_ns"),
                )
                .with_columns(
                    (pl.col("received_ns") - pl.col("sent_ns")).alias("delay_ns"),
                    pl.col("received_ns").is_null().alias("lost"),
                )
            )


def _other(capture: Spooled, node: str) -> str:
    return capture.point.peer if capture.point.node == node else capture.point.node


class _Crossing:
    """One node, and the captures of its links."""

    def __init__(
        self, node: str, captures: list[Spooled], codes: list[Numbers], flow_ids: list[Numbers]
    ) -> None:
        self._captures, self._codes, self._flow_ids = captures, codes, flow_ids
        # A capture at the node itself sees what reaches the node come in; one at the other end, go out.
        self._inward = [int(each.point.peer == node) for each in captures]

    def run(
        self, here: npt.NDArray[np.bool_], groups: npt.NDArray[np.bool_], end_ns: int, all_seen: bool
    ) -> Iterator[npt.NDArray[np.void]]:
        """The hops, of layout HOP; `here` and `groups` say which addresses are the node's, and groups'."""
        c = library()
        flow_count = max((int(each.max(initial=0)) for each in self._flow_ids), default=0) + 1
        by_flow, by_target = self._first(flow_count, len(here))
        count = len(self._captures)
        cross = c.cross_new(
            end_ns, IN_FLIGHT_NS, HELD_NS, all_seen, count,
            pointer(by_flow), len(by_flow), pointer(by_target), len(by_target),
        )  # fmt: skip
        sources = np.zeros(count, SOURCE)
        kept: list[npt.NDArray[np.generic]] = []  # what C has pointers to
        for number, codes in enumerate(self._codes):
            not_to = (here[codes] * _OWN | groups[codes] * _GROUP).astype(np.uint8)
            not_from = here[codes].astype(np.uint8)
            kept += [not_to, not_from]
            sources[number]["flows"] = pointer(self._flow_ids[number])
            sources[number]["codes"] = pointer(codes)
            sources[number]["not_to"], sources[number]["not_from"] = pointer(not_to), pointer(not_from)
            sources[number]["inward"], sources[number]["more"] = self._inward[number], 1
        buffers = [np.empty(max(ROWS // count, 16), ROW) for _ in self._captures]
        wants = c_int32()
        try:
            with ExitStack() as stack:
                spools = [stack.enter_context(each.spool.open("rb", buffering=0)) for each in self._captures]
                out, made = np.empty(MOST, HOP), 0
                while wants.value != _ALL_GIVEN:
                    place, room = pointer(out[made:]), MOST - made
                    made += c.cross(cross, pointer(sources), count, place, room, byref(wants))
                    if wants.value == _NO_MEMORY:
                        raise MemoryError
                    if (number := wants.value) >= 0:
                        mine, spool = sources[number : number + 1], spools[number]
                        buffers[number] = _refilled(mine, buffers[number], spool)
                    elif made:
                        yield out[:made]
                        out, made = np.empty(MOST, HOP), 0
        finally:
            c.cross_free(cross)

    def _first(self, flows: int, targets: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """By which capture each way of each flow, and whatever goes to each address, left the node first."""
        by_flow, flow_ns = np.full(2 * flows, -1, np.int32), np.full(2 * flows, _NEVER)
        by_target, target_ns = np.full(targets, -1, np.int32), np.full(targets, _NEVER)
        for number, capture in enumerate(self._captures):
            codes, outward = self._codes[number], "in_ns" if self._inward[number] else "out_ns"
            found, flow_id = capture.summaries, self._flow_ids[number][1:].astype(np.int64)
            src, dst = codes[found["src"]], codes[found["dst"]]
            for way, below in (("forward", src < dst), ("backward", dst < src)):
                _earlier(by_flow, flow_ns, 2 * flow_id + below, found[way][f"first_{outward}"], number)
            towards = capture.towards[outward]
            _earlier(by_target, target_ns, codes[: len(towards)], towards, number)
        return by_flow, by_target


def _earlier(
    best: npt.NDArray[np.int32],
    best_ns: npt.NDArray[np.int64],
    keys: npt.NDArray[np.integer],
    t_ns: npt.NDArray[np.int64],
    number: int,
) -> None:
    """Enter a number under the keys whose time is earlier than the best."""
    before = best_ns[keys]
    np.minimum.at(best_ns, keys, t_ns)
    best[keys[best_ns[keys] < before]] = number


def _refilled(
    source: npt.NDArray[np.void], rows: npt.NDArray[np.void], spool: FileIO
) -> npt.NDArray[np.void]:
    """Put the rows that were not done with first, and read on behind them."""
    at, count = int(source["at"][0]), int(source["count"][0])
    left = rows[at:count].copy()
    if len(left) == len(rows):  # all of one instant
        rows = np.empty(2 * len(rows), ROW)
    rows[: len(left)] = left
    read = spool.readinto(rows[len(left) :].view(np.uint8).data) // ROW.itemsize
    source["rows"], source["at"], source["count"] = pointer(rows), 0, len(left) + read
    source["more"] = read > 0
    return rows
