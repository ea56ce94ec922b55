"""A flow's row says what one TCP or UDP connection did, as seen at one capture point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure import sequences
from testbed.measure.connections import Connections, Keyed
from testbed.measure.packets import ACK, FIN, PROTOCOLS, RST, SYN, Packets
from testbed.measure.points import Point
from testbed.measure.sequences import Bools, Direction, Ints


def flows(packets: Packets, pairs: Keyed, connections: Connections, point: Point) -> pl.DataFrame:
    """The flows of a capture whose packets are numbered; marks `packets.retransmission` on the way.

    `up` is from client to server. A retransmission is a segment (data, SYN or FIN) whose sequence
    space had all been seen before in its direction at this point; `out_of_order` counts segments
    that fill a hole, which past a lossy hop are mostly retransmissions: the sender's own link tells.
    Round-trip times are from data to its acknowledgement at this point, of the direction that
    carries more payload (`sequences.round_trips` has the rules). `handshake_ns` is from the
    client's first SYN to its first acknowledgement after the server's SYN, so retried SYNs count.
    """
    order = pairs.order
    number = packets.flow_id[order]
    if (np.diff(number) != 0).sum() + 1 != len(np.unique(number)):  # late packets of an earlier connection
        order = order[np.argsort(number, kind="stable")]
        number = packets.flow_id[order]
    starts = np.flatnonzero(np.diff(number.astype(np.int64), prepend=-1))
    flow = np.cumsum(np.diff(number.astype(np.int64), prepend=-1) != 0) - 1
    count = len(starts)
    if not count:
        return pl.DataFrame()

    def taken(name: str) -> npt.NDArray[np.int64]:
        column: Ints = getattr(packets, name)[order].astype(np.int64)
        return column

    client, client_port = connections.clients()
    up = (packets.src[order] == client[number]) & (packets.sport[order] == client_port[number])
    t_ns, payload, flags = taken("t_ns"), taken("payload_length"), taken("tcp_flags")
    tcp = packets.has_tcp[order]
    columns: dict[str, npt.NDArray[Any]] = {
        "flow_id": number[starts],
        "start_ns": t_ns[starts],
        "end_ns": np.maximum.reduceat(t_ns, starts),
        "reset": np.bitwise_or.reduceat(flags, starts) & RST != 0,
    }
    for name, side in (("up", up), ("down", ~up)):
        for column, values in (
            ("packets", side),
            ("bytes", taken("length") * side),
            ("payload", payload * side),
        ):
            columns[f"{column}_{name}"] = np.add.reduceat(values.astype(np.int64), starts)

    size = payload + ((flags & SYN) != 0) + ((flags & FIN) != 0)
    segment = tcp & (size > 0) & (flags & RST == 0)
    heard = tcp & (flags & ACK != 0) & (flags & RST == 0)
    bare = tcp & (size == 0) & (flags & RST == 0)
    window = packets.tcp_window[order]
    duplicates = np.zeros(len(order), np.bool_)
    again, late = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
    samples = []
    heavier_up = columns["payload_up"] > columns["payload_down"]
    for name, side in (("up", up), ("down", ~up)):
        at, acks = np.flatnonzero(segment & side), np.flatnonzero(heard & ~side)
        way = sequences.direction(
            flow, count, at, packets.tcp_seq[order[at]], size[at], acks, packets.tcp_ack[order[acks]]
        )
        again[at], late[at] = way.retransmission, way.out_of_order
        duplicates[sequences.duplicate_acks(way, bare, window)] = True
        columns[f"unique_{name}"] = _unique(way, payload, flow, count) + np.add.reduceat(
            payload * (side & ~tcp), starts
        )
        ack, elapsed = sequences.round_trips(way, t_ns)
        wanted = heavier_up[flow[ack]] == (name == "up")
        samples.append(pl.DataFrame({"flow": flow[ack][wanted], "rtt": elapsed[wanted]}))
    packets.retransmission[order[again]] = True
    columns["retransmitted"] = np.add.reduceat(again.astype(np.int64), starts)
    columns["out_of_order"] = np.add.reduceat(late.astype(np.int64), starts)
    columns["dup_acks"] = np.add.reduceat(duplicates.astype(np.int64), starts)

    return (
        pl.DataFrame(columns)
        .with_row_index("flow")
        .with_columns(pl.col("flow").cast(pl.Int64), handshake_ns=_handshakes(flow, count, t_ns, flags, up))
        .join(_quantiles(pl.concat(samples)), on="flow", how="left")
        .join(connections.table.drop("t_ns", "start", "key"), on="flow_id", how="left", maintain_order="left")
        .with_columns(node=pl.lit(point.node), interface=pl.lit(point.interface), link=pl.lit(point.link))
        .sort("flow_id")
    )


def named(found: pl.DataFrame, addresses: list[str], nodes: dict[str, str]) -> pl.DataFrame:
    """The flows with names instead of numbers: client and server are nodes, or addresses if unknown."""
    names = pl.Series([nodes.get(address, address) for address in addresses], dtype=pl.String)
    texts = pl.Series(addresses, dtype=pl.String)
    protocols = pl.Series(PROTOCOLS, dtype=pl.String)
    return found.with_columns(
        client=names.gather(found["client"]),
        server=names.gather(found["server"]),
        client_address=texts.gather(found["client"]),
        server_address=texts.gather(found["server"]),
        proto=protocols.gather(found["proto"]),
    ).rename({"client_port": "sport", "server_port": "dport"})


def _unique(way: Direction, payload: Ints, flow: Ints, count: int) -> Ints:
    """Payload bytes of each flow without what was sent again."""
    fresh = np.minimum(way.fresh, payload[way.segment])
    total: Ints = np.bincount(flow[way.segment], fresh, count).astype(np.int64)
    return total


def _handshakes(flow: Ints, count: int, t_ns: Ints, flags: Ints, up: Bools) -> pl.Series:
    """Nanoseconds from each flow's first SYN to the acknowledgement that ends the handshake."""
    never = np.iinfo(np.int64).max

    def earliest(which: Bools) -> Ints:
        found = np.full(count, never, np.int64)
        np.minimum.at(found, flow[which], t_ns[which])
        return found

    both = flags & (SYN | ACK | RST)
    asked = earliest(up & (both == SYN))
    answered = earliest(~up & (both == SYN | ACK))
    done = earliest(up & (both == ACK) & (t_ns >= answered[flow]))
    seen = (asked < never) & (answered < never) & (done < never)
    return pl.Series(np.where(seen, done - asked, 0)).set(pl.Series(~seen), None)


def _quantiles(samples: pl.DataFrame) -> pl.DataFrame:
    """Least, middle and 95th percentile (nearest rank) of each flow's round-trip times."""
    rtt = pl.col("rtt")
    return samples.group_by("flow").agg(
        rtt_min_ns=rtt.min(),
        rtt_p50_ns=rtt.quantile(0.5, "nearest").cast(pl.Int64),
        rtt_p95_ns=rtt.quantile(0.95, "nearest").cast(pl.Int64),
    )
