"""The packets table: arrays become Arrow columns, text as dictionaries that are never spelt out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from testbed.measure.packets import PROTOCOLS, Packets
from testbed.measure.points import Point
from testbed.measure.schema import TABLES

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [(each.name, _WORD if each.type == pa.string() else each.type) for each in TABLES["packets"].arrow]
)


def table(packets: Packets, point: Point, addresses: pa.Array) -> pa.Table:
    """One capture's rows; `addresses` has the text of every address number."""
    count = len(packets)
    same = np.zeros(count, np.int32)
    ports, tcp, stamps = ~packets.has_ports, ~packets.has_tcp, ~packets.has_stamps
    columns = {
        "t_ns": pa.array(packets.t_ns),
        "node": _words(same, pa.array([point.node])),
        "interface": _words(same, pa.array([point.interface])),
        "link": _words(same, pa.array([point.link])),
        "direction": _words(packets.out.astype(np.int32), pa.array(["in", "out"])),
        "src": _words(packets.src, addresses, ~packets.has_addresses),
        "dst": _words(packets.dst, addresses, ~packets.has_addresses),
        "proto": _words(packets.proto, pa.array(PROTOCOLS)),
        "sport": pa.array(packets.sport, mask=ports),
        "dport": pa.array(packets.dport, mask=ports),
        "length": pa.array(packets.length),
        "ttl": pa.array(packets.ttl, mask=~packets.has_ip),
        "ip_id": pa.array(packets.ip_id, mask=~packets.has_ipv4),
        "ecn": pa.array(packets.ecn, mask=~packets.has_ip),
        "tcp_flags": pa.array(packets.tcp_flags, mask=tcp),
        "tcp_seq": pa.array(packets.tcp_seq, mask=tcp),
        "tcp_ack": pa.array(packets.tcp_ack, mask=tcp),
        "tcp_len": pa.array(packets.payload_length, mask=tcp),
        "tcp_window": pa.array(packets.tcp_window, mask=tcp),
        "ts_val": pa.array(packets.ts_val, mask=stamps),
        "ts_ecr": pa.array(packets.ts_ecr, mask=stamps),
        "sack": _lists(packets.sack, packets.sack_counts),
        "flow_id": pa.array(packets.flow_id, mask=packets.flow_id == 0),
        "retransmission": pa.array(packets.retransmission, mask=tcp),
    }
    return pa.table(columns, schema=SCHEMA)


def _words(
    codes: npt.NDArray[np.generic], words: pa.Array, absent: npt.NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=absent), words)


def _lists(values: npt.NDArray[np.uint32], counts: npt.NDArray[np.uint8]) -> pa.ListArray:
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=pa.array(counts == 0))
