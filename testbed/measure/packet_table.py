"""The packets table: rows become Arrow columns, text as dictionaries that are never spelt out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from testbed.measure.capture import Capture
from testbed.measure.native import COLUMN, ROW, library, pointer
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
_NEVER_NULL = ("t_ns", "node", "interface", "link", "proto", "length")
SCHEMA = pa.schema(
    pa.field(each.name, _WORD if each.type == pa.string() else each.type, each.name not in _NEVER_NULL)
    for each in TABLES["packets"].arrow
)
_PROTOCOLS, _STARTS, _WAYS = pa.array(PROTOCOLS), pa.array(STARTS), pa.array(["in", "out"])
_QUOTED = {"quoted_sport": (3, pa.uint16()), "quoted_dport": (4, pa.uint16())}
# Columns that are those of the rows: what a packet must have for them.
_PLAIN = {
    "t_ns": 0, "length": 0, "sport": PORTS, "dport": PORTS, "ttl": IP, "ecn": IP, "ip_id": IPV4,
    "tcp_flags": IS_TCP, "tcp_seq": IS_TCP, "tcp_ack": IS_TCP, "tcp_window": IS_TCP, "tcp_len": IS_TCP,
    "ts_val": STAMPS, "ts_ecr": STAMPS, "vlan": VLAN, "tcp_mss": MSS, "tcp_scale": SCALE,
    "icmp_type": IS_ICMP, "icmp_code": IS_ICMP,
}  # fmt: skip
_KINDS = (0, ADDRESSES, IP, IPV4, PORTS, IS_TCP, STAMPS, IS_ICMP, VLAN, FRAGMENT, MSS, SCALE)
_OFFSETS = {name: offset for name, (_, offset, *_) in (ROW.fields or {}).items()}
# What the rows call them otherwise, and what else is made of rows.
_NAMES = {"tcp_len": "payload_length", "tcp_mss": "mss", "tcp_scale": "scale"}
_MORE = (
    "has", "src", "dst", "proto", "flow_id", "extra", "interface", "fragment", "starts_with", "analysis",
    "rtt_ns", "in_flight",
)  # fmt: skip

Bools = npt.NDArray[np.bool_]
Columns = dict[str, npt.NDArray[Any]]


class Tabled:
    """Makes the tables of a capture's packets; `flow_ids` are by its own numbers; None: these."""

    def __init__(self, capture: Capture, flow_ids: npt.NDArray[np.uint32] | None = None) -> None:
        nodes, interfaces, links = (pa.array(each) for each in zip(*capture.places, strict=True))
        self._places = {"node": nodes, "interface": interfaces, "link": links}
        self._addresses = pa.array(capture.addresses, pa.string())
        self._flow_ids = flow_ids

    def table(self, packets: Packets) -> pa.Table:
        """The rows of some packets."""
        count = len(packets)
        held = _columns(packets.rows, [*(_NAMES.get(name, name) for name in _PLAIN), *_MORE])
        # A validity bitmap serves all columns of a kind.
        valid = {what: _having(held["has"], what) for what in (*_KINDS, DIRECTION)}
        columns = {name: _words(held["interface"], words) for name, words in self._places.items()}
        for name, what in _PLAIN.items():
            columns[name] = _array(held[_NAMES.get(name, name)], SCHEMA.field(name).type, valid[what])
        columns["direction"] = _words(held["has"] & OUT, _WAYS, valid[DIRECTION])
        for name in ("src", "dst"):
            columns[name] = _words(held[name], self._addresses, valid[ADDRESSES])
        columns["proto"] = _words(held["proto"], _PROTOCOLS)
        flow_id = held["flow_id"] if self._flow_ids is None else self._flow_ids[held["flow_id"]]
        columns["flow_id"] = _array(flow_id, pa.uint32(), _bits(flow_id > 0))
        again = _having(held["has"], RETRANSMISSION)
        columns["retransmission"] = pa.Array.from_buffers(
            pa.bool_(),
            count,
            [_buffer(valid[IS_TCP]), _buffer(_ALL[: count // 8 + 1] if again is None else again)],
        )
        columns["fragment"] = _array(held["fragment"].astype(np.uint32) * 8, pa.uint32(), valid[FRAGMENT])
        columns |= self._extras(packets, held["extra"])
        columns["starts_with"] = _words(held["starts_with"], _STARTS, _bits(held["starts_with"] > 0))
        columns["tcp_analysis"] = _analyses(held["analysis"])
        columns["rtt_ns"] = _array(held["rtt_ns"], pa.int64(), _bits(held["rtt_ns"] >= 0))
        columns["in_flight"] = _array(held["in_flight"], pa.uint32(), _bits(held["in_flight"] > 0))
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _extras(self, packets: Packets, numbers: npt.NDArray[np.uint32]) -> dict[str, pa.Array]:
        """SACK blocks, and the packets that ICMP errors quote."""
        count = len(packets)
        with_any = np.flatnonzero(numbers)
        extras = packets.extras[numbers[with_any] - 1 - packets.extras_before]
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


_ALL = np.full(1 << 17, 255, np.uint8)


def _columns(rows: npt.NDArray[np.void], names: Sequence[str]) -> Columns:
    """Columns of rows, each an array of its own, in memory that Arrow may keep."""
    found: Columns = {}
    wanted = np.empty(len(names), COLUMN)
    for number, name in enumerate(names):
        kind, offset = ROW[name], _OFFSETS[name]
        found[name] = np.frombuffer(pa.allocate_buffer(len(rows) * kind.itemsize), kind)
        wanted[number] = offset, kind.itemsize, pointer(found[name])
    library().columns(pointer(rows), len(rows), pointer(wanted), len(wanted))
    return found


def _having(has: npt.NDArray[np.uint16], what: int) -> npt.NDArray[np.uint8] | None:
    """A bitmap of the rows that have what these bits say; None if all have."""
    bits = np.empty(len(has) // 8 + 1, np.uint8)
    count = library().bitmap(pointer(has), len(has), what, pointer(bits)) if what else len(has)
    return None if count == len(has) else bits


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
    wanted = np.dtype(kind.to_pandas_dtype())
    if values.dtype.kind == "u" and values.dtype.itemsize == wanted.itemsize:  # no code is that large
        values = values.view(wanted)
    whole = np.ascontiguousarray(values, wanted)
    return pa.Array.from_buffers(kind, len(whole), [_buffer(bits), pa.py_buffer(whole)])


def _words(
    codes: npt.NDArray[Any], words: pa.Array, bits: npt.NDArray[np.uint8] | None = None
) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(_array(codes, pa.int32(), bits), words, safe=False)


def _analyses(bits: npt.NDArray[np.uint16]) -> pa.DictionaryArray:
    """What each segment was, in words with blanks between."""
    marks = np.zeros(1 << 16, np.bool_)
    marks[bits] = True
    met = np.flatnonzero(marks)
    codes = np.zeros(1 << 16, np.int32)
    codes[met] = np.arange(len(met))
    words = [
        " ".join(word for bit, word in enumerate(ANALYSES) if value >> bit & 1) for value in met.tolist()
    ]
    return _words(codes[bits], pa.array(words, pa.string()), _bits(bits > 0))
