"""The packets table: rows become Arrow columns, text as dictionaries that are never spelt out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from testbed.measure.capture import Capture
from testbed.measure.packets import (
    ADDRESSES,
    ANALYSES,
    DIRECTION,
    FRAGMENT,
    IP,
    IPV4,
    IS_ICMP,
    IS_TCP,
    MSS,
    OUT,
    PORTS,
    PROTOCOLS,
    RETRANSMISSION,
    SCALE,
    STAMPS,
    STARTS,
    VLAN,
    Packets,
)
from testbed.measure.schema import TABLES

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [(each.name, _WORD if each.type == pa.string() else each.type) for each in TABLES["packets"].arrow]
)
_PROTOCOLS, _STARTS, _WAYS = pa.array(PROTOCOLS), pa.array(STARTS), pa.array(["in", "out"])
_QUOTED = {"quoted_sport": (3, pa.uint16()), "quoted_dport": (4, pa.uint16())}

Bools = npt.NDArray[np.bool_]


class Tabled:
    """Makes the tables of a capture's packets; `flow_ids` are by the capture's own numbers."""

    def __init__(self, capture: Capture, flow_ids: npt.NDArray[np.uint32]) -> None:
        nodes, interfaces, links = (pa.array(each) for each in zip(*capture.places, strict=True))
        self._places = {"node": nodes, "interface": interfaces, "link": links}
        self._addresses = pa.array(capture.addresses, pa.string())
        self._flow_ids = flow_ids

    def table(self, packets: Packets) -> pa.Table:
        """The rows of some packets."""
        rows = packets.rows
        columns: dict[str, pa.Array] = {
            name: _words(rows["interface"], words) for name, words in self._places.items()
        }
        # A validity bitmap serves all columns of a kind.
        valid = {what: _bits(packets.are(what)) for what in (IP, IPV4, PORTS, IS_TCP, STAMPS, IS_ICMP)}
        valid |= {
            what: _bits(packets.are(what)) for what in (ADDRESSES, VLAN, FRAGMENT, MSS, SCALE, DIRECTION)
        }

        def column(name: str, of: str | npt.NDArray[Any], what: int | None = None) -> None:
            values = rows[of] if isinstance(of, str) else of
            bits = None if what is None else valid[what]
            columns[name] = _array(values, SCHEMA.field(name).type, bits)

        column("t_ns", "t_ns")
        columns["direction"] = _words(packets.are(OUT), _WAYS, valid[DIRECTION])
        columns["src"] = _words(rows["src"], self._addresses, valid[ADDRESSES])
        columns["dst"] = _words(rows["dst"], self._addresses, valid[ADDRESSES])
        columns["proto"] = _words(rows["proto"], _PROTOCOLS)
        column("length", "length")
        for name in ("sport", "dport"):
            column(name, name, PORTS)
        for name, of in (("ttl", "ttl"), ("ecn", rows["tos"] & 3)):
            column(name, of, IP)
        column("ip_id", "ip_id", IPV4)
        for name in ("tcp_flags", "tcp_seq", "tcp_ack", "tcp_window"):
            column(name, name, IS_TCP)
        column("tcp_len", "payload_length", IS_TCP)
        for name in ("ts_val", "ts_ecr"):
            column(name, name, STAMPS)
        flow_id = self._flow_ids[rows["flow_id"]]
        columns["flow_id"] = _array(flow_id, pa.uint32(), _bits(flow_id > 0))
        columns["retransmission"] = pa.Array.from_buffers(
            pa.bool_(), len(rows), [_buffer(valid[IS_TCP]), _buffer(_packed(packets.are(RETRANSMISSION)))]
        )
        column("vlan", "vlan", VLAN)
        column("fragment", rows["fragment"].astype(np.uint32) * 8, FRAGMENT)
        column("tcp_mss", "mss", MSS)
        column("tcp_scale", "scale", SCALE)
        for name in ("icmp_type", "icmp_code"):
            column(name, name, IS_ICMP)
        columns |= self._extras(packets)
        columns["starts_with"] = _words(rows["starts_with"], _STARTS, _bits(rows["starts_with"] > 0))
        columns["tcp_analysis"] = _analyses(rows["analysis"])
        columns["rtt_ns"] = _array(rows["rtt_ns"], pa.int64(), _bits(rows["rtt_ns"] >= 0))
        columns["in_flight"] = _array(rows["in_flight"], pa.uint32(), _bits(rows["in_flight"] > 0))
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _extras(self, packets: Packets) -> dict[str, pa.Array]:
        """SACK blocks, and the packets that ICMP errors quote."""
        count = len(packets)
        with_any = np.flatnonzero(packets.extra)
        extras = packets.extras[packets.extra[with_any] - 1 - packets.extras_before]
        counts = np.zeros(count, np.int32)
        counts[with_any] = extras["count"]
        offsets = np.zeros(count + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        inside = np.arange(8) < extras["count"][:, None]
        found = {
            "sack": pa.Array.from_buffers(
                pa.list_(pa.uint32()),
                count,
                [_buffer(_bits(counts > 0)), pa.py_buffer(offsets)],
                children=[pa.array(extras["words"][inside])],
            )
        }
        quoting = extras["count"] == 0
        rows, words = with_any[quoting], extras["words"][quoting]
        for number, name in enumerate(("quoted_src", "quoted_dst")):
            found[name] = self._sparse(rows, words[:, number], count, self._addresses)
        found["quoted_proto"] = self._sparse(rows, words[:, 2], count, _PROTOCOLS)
        ports = words[:, 7] > 0
        for name, (place, kind) in _QUOTED.items():
            column = pa.nulls(count, kind)
            if ports.any():
                values, valid = np.zeros(count, np.uint16), np.zeros(count, np.bool_)
                values[rows[ports]], valid[rows[ports]] = words[ports, place], True
                column = _array(values, kind, _bits(valid))
            found[name] = column
        return found

    @staticmethod
    def _sparse(
        rows: npt.NDArray[np.intp], codes: npt.NDArray[np.uint32], count: int, words: pa.Array
    ) -> pa.Array:
        """Words of few rows; the others have none."""
        if not len(rows):
            return pa.nulls(count, _WORD)
        full, valid = np.zeros(count, np.int32), np.zeros(count, np.bool_)
        full[rows], valid[rows] = codes, True
        return _words(full, words, _bits(valid))


def _packed(flags: Bools) -> npt.NDArray[np.uint8]:
    return np.packbits(flags, bitorder="little")


def _bits(valid: Bools) -> npt.NDArray[np.uint8] | None:
    """A validity bitmap; None if all are valid."""
    return None if valid.all() else _packed(valid)


def _buffer(bits: npt.NDArray[np.uint8] | None) -> pa.Buffer | None:
    return None if bits is None else pa.py_buffer(bits)


def _array(values: npt.NDArray[Any], kind: pa.DataType, bits: npt.NDArray[np.uint8] | None) -> pa.Array:
    if bits is not None and not bits.any():
        return pa.nulls(len(values), kind)
    whole = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(whole), [_buffer(bits), pa.py_buffer(whole)])


def _words(
    codes: npt.NDArray[Any], words: pa.Array, bits: npt.NDArray[np.uint8] | None = None
) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(_array(codes, pa.int32(), bits), words)


def _analyses(bits: npt.NDArray[np.uint16]) -> pa.DictionaryArray:
    """What each segment was, in words with blanks between."""
    met = np.unique(bits)
    codes = np.zeros(1 << 16, np.int32)
    codes[met] = np.arange(len(met))
    words = [
        " ".join(word for bit, word in enumerate(ANALYSES) if value >> bit & 1) for value in met.tolist()
    ]
    return _words(codes[bits], pa.array(words, pa.string()), _bits(bits > 0))
