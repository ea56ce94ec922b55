"""A flow's row says what one TCP or UDP connection did, as seen at one capture point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure.capture import Capture
from testbed.measure.connections import Connections
from testbed.measure.packets import PROTOCOLS

# Of both directions together: column, and what c/follow.c calls it.
_BOTH = {
    "retransmitted": "retransmitted",
    "out_of_order": "out_of_order",
    "dup_acks": "dup_acks",
    "fast_retransmissions": "fast",
    "spurious_retransmissions": "spurious",
    "timeouts": "timeouts",
    "zero_windows": "zero_windows",
    "windows_full": "window_fulls",
}
_EACH = ("packets", "bytes", "payload", "unique")


def flows(
    capture: Capture, number: int, codes: npt.NDArray[np.uint32], connections: Connections
) -> pl.DataFrame:
    """The flows of the capture `number`, whose addresses are `codes` in the run.

    `up` is from client to server. A retransmission is a segment (data, SYN or FIN) whose sequence
    space had all been seen before in its direction at this point; `out_of_order` counts segments
    that fill a hole, which past a lossy hop are mostly retransmissions: the sender's own link tells.
    Round-trip times are from data to its acknowledgement at this point, of the direction that
    carries more payload; an acknowledgement that newly covers what was sent again or came late is
    no sample (Karn & Partridge 1987; RFC 6298, section 3). `handshake_ns` is from the client's
    first SYN to its first acknowledgement after the server's SYN, so retried SYNs count.
    """
    found = capture.summaries
    if not len(found):
        return pl.DataFrame()
    flow_id = connections.numbers[number][1:]
    client, client_port = connections.clients()
    ahead = (codes[found["src"]] == client[flow_id]) & (found["sport"] == client_port[flow_id])
    one, other = found["forward"], found["backward"]
    columns: dict[str, npt.NDArray[Any]] = {
        "flow": np.arange(1, len(found) + 1, dtype=np.uint32),
        "flow_id": flow_id,
        "place": found["interface"],
        "start_ns": found["first_ns"],
        "end_ns": found["last_ns"],
        "reset": found["reset"] > 0,
        "handshake_ns": found["handshake_ns"],
        "tls_ns": found["tls_ns"],
        "in_flight_max": np.maximum(one["in_flight"], other["in_flight"]),
    }
    for name in _EACH:
        columns[f"{name}_up"] = np.where(ahead, one[name], other[name])
        columns[f"{name}_down"] = np.where(ahead, other[name], one[name])
    for name, counted in _BOTH.items():
        columns[name] = one[counted] + other[counted]
    heavier_up = columns["payload_up"] > columns["payload_down"]
    columns["ahead"] = np.where(ahead, heavier_up, ~heavier_up).astype(np.uint32)
    nodes, interfaces, links = (
        pl.Series(each, dtype=pl.String) for each in zip(*capture.places, strict=True)
    )
    frame = (
        pl.DataFrame(columns)
        .with_columns(
            pl.when(pl.col(name) >= 0).then(name).alias(name) for name in ("handshake_ns", "tls_ns")
        )
        .join(capture.round_trips, on=["flow", "ahead"], how="left", maintain_order="left")
        .drop("flow", "ahead")
    )
    frame = _merged(frame)
    return (
        frame.join(connections.table, on="flow_id", how="left", maintain_order="left")
        .with_columns(
            node=nodes.gather(frame["place"]),
            interface=interfaces.gather(frame["place"]),
            link=links.gather(frame["place"]),
        )
        .drop("place")
    )


def _merged(found: pl.DataFrame) -> pl.DataFrame:
    """The flows with those of one number as one: late packets of a connection that had none to tell it by."""
    key = ["flow_id", "place"]
    if not found.select(key).is_duplicated().any():
        return found
    least = {"start_ns", "rtt_min_ns", "handshake_ns", "tls_ns"}
    most = {"end_ns", "reset", "in_flight_max"}
    first = {"rtt_p50_ns", "rtt_p95_ns"}

    def of(name: str) -> pl.Expr:
        column = pl.col(name)
        if name in least:
            return column.min()
        if name in most:
            return column.max()
        return column.drop_nulls().first() if name in first else column.sum()

    rest = [name for name in found.columns if name not in key]
    return found.group_by(key, maintain_order=True).agg(of(name) for name in rest)


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
