"""A hop is a packet's way through a node and onto its next link: queueing, shaping, or loss.

Captures are taken behind the sender's queue, and the wire takes no time. So a packet seen on its
way to node X arrives there at that instant, and what passes until it is seen on a link leaving X
is X's forwarding and the emulated queue, rate, delay and jitter of that link. The first link out
of a host has no earlier sight, so it has no row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.job import Job
from testbed.measure.addresses import Addresses
from testbed.measure.packets import Packets
from testbed.measure.points import Point, own_addresses

IN_FLIGHT_NS = 2_000_000_000  # a packet this close to the end of the captures may yet have come


def hops(
    captures: list[tuple[Point, Packets]], job: Job, addresses: Addresses, end_ns: int
) -> Iterable[pl.DataFrame]:
    """The hops through each node, node by node; each frame is sorted by time.

    Arrival and departure are the same packet if all agrees that no hop changes; among equal ones the
    first that arrived is the first that left. A packet to one of the node's own addresses, to a group,
    to a neighbour (link-local), or without an IP header is no hop. One that never leaves is lost, unless
    it arrived in the last two seconds before `end_ns`; its link is the one that its flow (or its
    destination) took before, or else after. Where that is unknown the link is null, or, if not all the
    node's links were captured, there is no row, for it may have left unseen.
    """
    captured = {point.link for point, _ in captures}
    groups = addresses.not_forwarded()
    for node in sorted({name for point, _ in captures for name in (point.node, point.peer)}):
        own = {each.link for each in job.node(node).interfaces}
        here = addresses.flags(own_addresses(job.node(node)))
        arrived, left = [], []
        for number, (point, packets) in enumerate(captures):
            if node not in (point.node, point.peer):
                continue
            inward = packets.out == (point.peer == node)
            relevant = packets.has_ip & packets.addressed & ~groups[packets.dst]
            arrived.append(_sights(packets, relevant & inward & ~here[packets.dst], number))
            left.append(_sights(packets, relevant & ~inward & ~here[packets.src], number))
        crossing = _crossings(pl.concat(arrived), pl.concat(left), end_ns, own <= captured)
        if crossing.is_empty():
            continue
        links = pl.Series([point.link for point, _ in captures], dtype=pl.String)
        ends = pl.Series(
            [point.peer if point.node == node else point.node for point, _ in captures], dtype=pl.String
        )
        yield crossing.select(
            pl.Series("link", links.gather(crossing["exit"])),
            pl.lit(node).alias("from"),
            pl.Series("to", ends.gather(crossing["exit"])),
            pl.when(pl.col("flow_id") > 0).then("flow_id").alias("flow_id"),
            "sent_ns",
            "received_ns",
            (pl.col("received_ns") - pl.col("sent_ns")).alias("delay_ns"),
            pl.col("received_ns").is_null().alias("lost"),
        )


def _sights(packets: Packets, which: npt.NDArray[np.bool_], capture: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "fingerprint": packets.fingerprint[which],
            "t_ns": packets.t_ns[which],
            "flow_id": packets.flow_id[which],
            "src": packets.src[which],
            "dst": packets.dst[which],
        }
    ).with_columns(exit=pl.lit(capture, pl.UInt32))


def _crossings(arrived: pl.DataFrame, left: pl.DataFrame, end_ns: int, all_seen: bool) -> pl.DataFrame:
    """Each arrival with when and where it left, in the order of arrival."""
    arrived = _counted(arrived).rename({"t_ns": "sent_ns"}).drop("exit")
    gone = _counted(left).select("fingerprint", "nth", "exit", received_ns="t_ns")
    joined = arrived.join(gone, on=["fingerprint", "nth"], how="left", maintain_order="left")
    # An equal packet that left before this one came is another.
    known = pl.col("received_ns") >= pl.col("sent_ns")
    joined = joined.with_columns(pl.when(known).then("received_ns"), pl.when(known).then("exit"))
    lost = joined["received_ns"].is_null() & (joined["sent_ns"] <= end_ns - IN_FLIGHT_NS)
    missing = _inferred(joined.filter(lost), left)
    if not all_seen:
        missing = missing.filter(pl.col("exit").is_not_null())
    passed = joined.filter(pl.col("received_ns").is_not_null())
    return pl.concat([passed, missing.select(passed.columns)]).sort(
        "sent_ns", "received_ns", "fingerprint", "nth"
    )


def _counted(sights: pl.DataFrame) -> pl.DataFrame:
    """The sights in the order of time, each with its number among equal packets."""
    sights = sights.sort("t_ns", maintain_order=True)
    repeated = sights["fingerprint"].is_duplicated()
    again = sights.select("fingerprint").filter(repeated)
    counts = again.with_columns(nth=pl.int_range(pl.len()).over("fingerprint"))["nth"].to_numpy()
    nth = np.zeros(len(sights), np.uint32)
    nth[repeated.to_numpy()] = counts
    return sights.with_columns(nth=nth)


def _inferred(lost: pl.DataFrame, left: pl.DataFrame) -> pl.DataFrame:
    """The lost packets with the exit that their flow, or else their destination, used nearest in time."""
    lost = lost.sort("sent_ns", maintain_order=True).with_columns(exit=pl.lit(None, pl.UInt32))
    for by in (["flow_id", "src"], ["dst"]):
        known = left.join(lost.select(by).unique(), on=by, how="semi").sort("t_ns", "exit")
        if "flow_id" in by:
            known = known.filter(pl.col("flow_id") > 0)
        for strategy in ("backward", "forward"):
            guess = lost.select(*by, "sent_ns").join_asof(
                known.select(*by, "t_ns", guess="exit"),
                left_on="sent_ns", right_on="t_ns", by=by, strategy=strategy, check_sortedness=False,
            )  # fmt: skip
            lost = lost.with_columns(exit=pl.coalesce(pl.col("exit"), guess["guess"]))
    return lost
