"""Every connection of a run has one number, the same at every capture point.

A TCP connection is its two endpoints and the initial sequence number of the SYN that opened it, so
that one which reuses the ports of an earlier one is another. Packets belong to the connection
that was opened last before they were seen. A UDP flow is its two endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure.addresses import mix
from testbed.measure.packets import ACK, SYN, TCP, Packets

_START = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Keyed:
    """One capture's packets by the pair of endpoints: `order` sorts them, stably in time."""

    order: npt.NDArray[np.int64]  # of the packets with ports only
    starts: npt.NDArray[np.int64]  # where in `order` each pair begins
    keys: npt.NDArray[np.uint64]  # of each pair

    def sizes(self) -> npt.NDArray[np.int64]:
        """How many packets each pair has."""
        return np.diff(self.starts, append=len(self.order))


def keyed(packets: Packets) -> Keyed:
    """Sort a capture's packets by their pair of endpoints, whichever of the two sent them."""
    rows = np.flatnonzero(packets.has_ports)
    source = _endpoint(packets.src[rows], packets.sport[rows])
    target = _endpoint(packets.dst[rows], packets.dport[rows])
    state = mix(packets.proto[rows].astype(np.uint64), np.minimum(source, target))
    key = mix(state, np.maximum(source, target))
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] ^ np.uint64(1)))
    return Keyed(rows[order], starts, ordered[starts])


class Connections:
    """The connections of a run: add what every capture saw, then number the packets of each."""

    def __init__(self) -> None:
        self._seen: list[pl.DataFrame] = []
        self._opened: list[pl.DataFrame] = []
        self.table = pl.DataFrame()  # of `numbered`: flow_id, key, start, and the client's endpoint
        self._keys = np.empty(0, np.uint64)

    def add(self, packets: Packets, pairs: Keyed) -> None:
        """Note which connections a capture saw, when, and who began them."""
        first = pairs.order[pairs.starts]
        # With no SYN to tell, the service's port is the lower one; else who speaks first is client.
        tcp = packets.proto[first] == TCP
        forward = ~tcp | (packets.dport[first] <= packets.sport[first])
        self._seen.append(
            _endpoints(packets, first, forward).with_columns(
                key=pairs.keys, t_ns=packets.t_ns[first], proto=packets.proto[first]
            )
        )
        syn = packets.has_tcp[pairs.order] & (packets.tcp_flags[pairs.order] & (SYN | ACK) == SYN)
        at = np.flatnonzero(syn)
        rows = pairs.order[at]
        self._opened.append(
            _endpoints(packets, rows, np.ones(len(rows), np.bool_)).with_columns(
                key=pairs.keys[np.searchsorted(pairs.starts, at, "right") - 1],
                isn=packets.tcp_seq[rows],
                t_ns=packets.t_ns[rows],
                proto=packets.proto[rows],
            )
        )

    def number(self) -> None:
        """Give every connection its number, in the order in which they were first seen."""
        if not self._seen:
            return
        seen = _earliest(pl.concat(self._seen), ["key"])
        opened = _earliest(pl.concat(self._opened), ["key", "isn"]).sort("key", "t_ns", "isn")
        first_opened = opened.group_by("key").agg(opened_ns=pl.col("t_ns").min())
        # Pairs seen before any SYN of theirs: UDP, and connections older than the capture.
        before = (
            seen.join(first_opened, on="key", how="left")
            .filter(pl.col("opened_ns").is_null() | (pl.col("t_ns") < pl.col("opened_ns")))
            .drop("opened_ns")
        )
        columns = before.columns
        both = pl.concat(
            [
                before.with_columns(start=pl.lit(_START, pl.Int64)),
                opened.select(columns).with_columns(start=pl.col("t_ns")),
            ]
        )
        numbered = both.sort("t_ns", "key", "start").with_row_index("flow_id", offset=1)
        self.table = numbered
        by_key = numbered.sort("key", "start")
        self._keys = by_key["key"].to_numpy()
        self._starts = by_key["start"].to_numpy()
        self._numbers = by_key["flow_id"].to_numpy().astype(np.uint32)

    def assign(self, packets: Packets, pairs: Keyed) -> None:
        """Set `flow_id` of a capture's packets."""
        low = np.searchsorted(self._keys, pairs.keys, "left")
        high = np.searchsorted(self._keys, pairs.keys, "right")
        sizes = pairs.sizes()
        numbers = np.repeat(self._numbers[low], sizes)
        for pair in np.flatnonzero(high - low > 1).tolist():
            inside = slice(pairs.starts[pair], pairs.starts[pair] + sizes[pair])
            times = packets.t_ns[pairs.order[inside]]
            which = np.searchsorted(self._starts[low[pair] : high[pair]], times, "right") - 1
            numbers[inside] = self._numbers[low[pair] + np.maximum(which, 0)]
        packets.flow_id[pairs.order] = numbers

    def clients(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
        """Address number and port of each connection's client, by flow_id; entry 0 is no flow."""
        if self.table.is_empty():
            return np.zeros(1, np.uint32), np.zeros(1, np.uint16)
        address = self.table["client"].to_numpy()
        port = self.table["client_port"].to_numpy()
        return np.concatenate([[0], address]).astype(np.uint32), np.concatenate([[0], port]).astype(np.uint16)


def _endpoint(address: npt.NDArray[np.uint32], port: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint64]:
    return address.astype(np.uint64) << np.uint64(16) | port


def _endpoints(packets: Packets, rows: npt.NDArray[np.int64], forward: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Client and server of the packets `rows`: sender and receiver where `forward`, else reversed."""
    src, dst, sport, dport = (getattr(packets, name)[rows] for name in ("src", "dst", "sport", "dport"))
    return pl.DataFrame(
        {
            "client": np.where(forward, src, dst),
            "client_port": np.where(forward, sport, dport),
            "server": np.where(forward, dst, src),
            "server_port": np.where(forward, dport, sport),
        }
    )


def _earliest(seen: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Of rows that agree in `by` the one with the least time; ties go to the first capture."""
    return seen.sort(*by, "t_ns", maintain_order=True).unique(by, keep="first", maintain_order=True)
