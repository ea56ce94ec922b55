"""BGP is read off the wire: each session's byte stream is put together and parsed.

Messages as in RFC 4271, 4-octet AS numbers (RFC 6793) where both OPENs offer them, communities
(RFC 1997), large ones (RFC 8092) and extended ones (RFC 4360), route reflection (RFC 4456), IPv6 routes
(RFC 4760), several paths to a prefix (RFC 7911) where one OPEN offers to send and the other to receive
them. A row's time is when the last byte of its message reached the receiver.
"""

from __future__ import annotations

import ipaddress
import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from testbed.measure.addresses import Addresses
from testbed.measure.packets import FIN, RST, SYN, Packets
from testbed.measure.points import Point
from testbed.routing import WELL_KNOWN

PORT = 179
MARKER = b"\xff" * 16
HEADER, LONGEST = 19, 65535  # RFC 8654 extends messages beyond 4096 bytes
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR = 1, 2, 3, 4, 5, 6, 7
COMMUNITIES, ORIGINATOR_ID, CLUSTER_LIST, MP_REACH, MP_UNREACH = 8, 9, 10, 14, 15
EXTENDED_COMMUNITIES, AS4_PATH, LARGE_COMMUNITIES = 16, 17, 32
AS_SET = 1
CAPABILITIES, FOUR_OCTETS, ADD_PATH = 2, 65, 69
ADD_PATH_RECEIVE, ADD_PATH_SEND = 1, 2
ORIGINS = {0: "igp", 1: "egp", 2: "incomplete"}
_NAMES = {high << 16 | low: name for name, (high, low) in WELL_KNOWN.items()}
# Of NOTIFICATION: RFC 4271, section 4.5; RFC 4486, 8538 and 9384 for Cease.
ERRORS = {
    1: "message header", 2: "OPEN message", 3: "UPDATE message", 4: "hold timer expired",
    5: "finite state machine", 6: "cease",
}  # fmt: skip
CEASES = {
    1: "maximum number of prefixes reached", 2: "administrative shutdown", 3: "peer de-configured",
    4: "administrative reset", 5: "connection rejected", 6: "other configuration change",
    7: "connection collision resolution", 8: "out of resources", 9: "hard reset", 10: "BFD down",
}  # fmt: skip

Row = dict[str, Any]


@dataclass
class _Stream:
    """One direction of a session: the payloads with their sequence numbers, and how it closed."""

    segments: list[tuple[int, int, bytes]] = field(default_factory=list)  # t_ns, seq, payload
    syn: int | None = None
    closed_ns: int | None = None


def bgp(captures: list[tuple[Point, Packets]], addresses: Addresses, nodes: dict[str, str]) -> list[Row]:
    """The rows of all BGP sessions; each session is read at the capture next to the receiver."""
    rows = []
    streams = _streams(captures, addresses, nodes)
    offers = {key: _offers(stream) for key, stream in streams.items()}
    for (flow, src, dst), stream in streams.items():
        agreed = offers[flow, src, dst].to(offers.get((flow, dst, src), _Offers()))
        ends: Row = {"node": nodes.get(addresses.texts[dst], addresses.texts[dst]),
                "peer": nodes.get(addresses.texts[src], addresses.texts[src]), "flow_id": flow}  # fmt: skip
        for t_ns, kind, body in messages(stream.segments, stream.syn):
            rows += [ends | {"t_ns": t_ns} | row for row in parsed(kind, body, agreed)]
        if stream.closed_ns is not None:
            rows.append(ends | {"t_ns": stream.closed_ns, "kind": "closed"})
    return rows


def _streams(
    captures: list[tuple[Point, Packets]], addresses: Addresses, nodes: dict[str, str]
) -> dict[tuple[int, int, int], _Stream]:
    """Each direction of each session (flow, source, destination) at the capture nearest its end."""
    found: dict[tuple[int, int, int], tuple[bool, int, _Stream]] = {}
    for number, (point, packets) in enumerate(captures):
        port = packets.has_tcp & ((packets.sport == PORT) | (packets.dport == PORT))
        for index in np.flatnonzero(port).tolist():
            flow, src, dst = int(packets.flow_id[index]), int(packets.src[index]), int(packets.dst[index])
            receiver = point.peer if packets.out[index] else point.node
            near = nodes.get(addresses.texts[dst]) == receiver
            best = found.get((flow, src, dst))
            if best is None or (near and not best[0]):
                best = found[flow, src, dst] = (near, number, _Stream())
            if best[1] != number:
                continue
            stream, flags, t_ns = best[2], int(packets.tcp_flags[index]), int(packets.t_ns[index])
            if flags & SYN:
                stream.syn = int(packets.tcp_seq[index])
            if flags & (FIN | RST) and stream.closed_ns is None:
                stream.closed_ns = t_ns
            if payload := packets.payloads.get(index):
                stream.segments.append((t_ns, int(packets.tcp_seq[index]), payload))
    return {key: each for key, (_, _, each) in sorted(found.items(), key=lambda item: item[0])}


def messages(
    segments: list[tuple[int, int, bytes]], syn: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """Time, type and body of the messages in a stream of (t_ns, seq, payload), in any order.

    Repeated bytes are dropped. After a gap, or where no message starts, reading goes on at the next
    marker.
    """
    for pieces in _runs(segments, syn):
        stream = b"".join(payload for _, payload in pieces)
        ends = np.cumsum([len(payload) for _, payload in pieces]).tolist()
        arrived = np.maximum.accumulate([t_ns for t_ns, _ in pieces]).tolist()
        at = 0
        while (at := stream.find(MARKER, at)) >= 0 and at + HEADER <= len(stream):
            length, kind = struct.unpack_from(">HB", stream, at + 16)
            if not HEADER <= length <= LONGEST or not OPEN <= kind <= ROUTE_REFRESH:
                at += 1
                continue
            if at + length > len(stream):
                break
            yield arrived[bisect_left(ends, at + length)], kind, stream[at + HEADER : at + length]
            at += length


def _runs(segments: list[tuple[int, int, bytes]], syn: int | None) -> Iterator[list[tuple[int, bytes]]]:
    """The stream without repetitions, as unbroken runs of pieces with the time each first came."""
    if not segments:
        return
    first = segments[0][1] if syn is None else syn + 1
    placed = sorted(
        ((seq - first + (1 << 31)) % (1 << 32) - (1 << 31), t_ns, payload) for t_ns, seq, payload in segments
    )
    run: list[tuple[int, bytes]] = []
    reached = placed[0][0]
    for start, t_ns, payload in placed:
        if start > reached:
            yield run
            run, reached = [], start
        if start + len(payload) > reached:
            run.append((t_ns, payload[reached - start :]))
            reached = start + len(payload)
    yield run


@dataclass(frozen=True)
class Agreed:
    """What both ends of a session can do in one direction."""

    four_octets: bool = True
    many_paths: frozenset[int] = frozenset()  # bytes of an address of the families with path identifiers


def parsed(kind: int, body: bytes, agreed: Agreed = Agreed()) -> list[Row]:
    """The rows of one message; one that is malformed gives none."""
    if kind == UPDATE:
        try:
            return _update(body, agreed)
        except (IndexError, ValueError, struct.error):
            return []
    if kind == NOTIFICATION:
        return [{"kind": "notification", "reason": _reason(body)}]
    return [{"kind": {OPEN: "open", KEEPALIVE: "keepalive", ROUTE_REFRESH: "route-refresh"}[kind]}]


def _reason(body: bytes) -> str | None:
    """The error of a NOTIFICATION in words, or by its numbers."""
    if len(body) < 2:
        return None
    code, subcode = body[:2]
    name = ERRORS.get(code, f"error {code}")
    if code == 6:
        return f"{name}: {CEASES.get(subcode, subcode)}"
    return f"{name} ({subcode})" if subcode else name


def _update(body: bytes, agreed: Agreed) -> list[Row]:
    """The rows of an UPDATE: one for each prefix withdrawn or announced; none at all ends a RIB."""
    (withdrawn_length,) = struct.unpack_from(">H", body)
    withdrawn = body[2 : 2 + withdrawn_length]
    (attributes_length,) = struct.unpack_from(">H", body, 2 + withdrawn_length)
    middle = 4 + withdrawn_length
    if middle + attributes_length > len(body):
        raise ValueError("attributes go beyond the message")
    attributes = dict(_attributes(body[middle : middle + attributes_length]))
    rows: list[Row] = [{"kind": "withdraw", **each} for each in _prefixes(withdrawn, 4, agreed)]
    if MP_UNREACH in attributes:
        routes = attributes[MP_UNREACH]
        rows += [{"kind": "withdraw", **each} for each in _prefixes(routes[3:], _family(routes), agreed)]
    common = {"kind": "announce"} | _described(attributes, 4 if agreed.four_octets else 2)
    if announced := list(_prefixes(body[middle + attributes_length :], 4, agreed)):
        hop = str(ipaddress.ip_address(attributes[NEXT_HOP])) if NEXT_HOP in attributes else None
        rows += [common | {"next_hop": hop, **each} for each in announced]
    if MP_REACH in attributes:
        routes = attributes[MP_REACH]
        size = _family(routes)
        hop = str(ipaddress.ip_address(routes[4 : 4 + size]))  # a link-local one may follow
        rows += [
            common | {"next_hop": hop, **each} for each in _prefixes(routes[5 + routes[3] :], size, agreed)
        ]
    return rows or [{"kind": "end-of-rib"}]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        extended = data[at] & 0x10
        length, start = (
            (struct.unpack_from(">H", data, at + 2)[0], at + 4) if extended else (data[at + 2], at + 3)
        )
        if start + length > len(data):
            raise ValueError("an attribute goes beyond the list")
        yield data[at + 1], data[start : start + length]
        at = start + length


def _described(attributes: dict[int, bytes], width: int) -> Row:
    """The attributes as text and numbers; what is not there is None, or an empty list."""
    path = _path(attributes.get(AS_PATH, b""), width)
    if width == 2 and AS4_PATH in attributes:  # RFC 6793, section 4.2.3: the old path leads the new one
        new = _path(attributes[AS4_PATH], 4)
        path = path[: max(len(path) - len(new), 0)] + new
    communities = [
        _NAMES.get(value, f"{value >> 16}:{value & 0xFFFF}")
        for (value,) in struct.iter_unpack(">I", attributes.get(COMMUNITIES, b""))
    ]
    large = struct.iter_unpack(">III", attributes.get(LARGE_COMMUNITIES, b""))
    extended = struct.iter_unpack(">8s", attributes.get(EXTENDED_COMMUNITIES, b""))
    return {
        "as_path": " ".join(path),
        "origin": ORIGINS.get(attributes[ORIGIN][0]) if ORIGIN in attributes else None,
        "med": _number(attributes, MED),
        "local_pref": _number(attributes, LOCAL_PREF),
        "communities": communities
        + [":".join(map(str, each)) for each in large]
        + [f"0x{each.hex()}" for (each,) in extended],
        "originator": str(ipaddress.IPv4Address(attributes[ORIGINATOR_ID]))
        if ORIGINATOR_ID in attributes
        else None,
        "clusters": list(_routers(attributes.get(CLUSTER_LIST, b""))),
        "atomic_aggregate": ATOMIC_AGGREGATE in attributes,
        "aggregator": _aggregator(attributes[AGGREGATOR]) if AGGREGATOR in attributes else None,
    }


def _number(attributes: dict[int, bytes], code: int) -> int | None:
    return int.from_bytes(attributes[code]) if code in attributes else None


def _routers(data: bytes) -> Iterator[str]:
    """Router ids, one after the other."""
    return (str(ipaddress.IPv4Address(each)) for (each,) in struct.iter_unpack(">4s", data))


def _aggregator(value: bytes) -> str:
    """The AS and the router that put routes together: 64501 10.0.0.1."""
    return f"{int.from_bytes(value[:-4])} {ipaddress.IPv4Address(value[-4:])}"


def _path(data: bytes, width: int) -> list[str]:
    """The AS numbers in order; a set, which has none, is one entry in braces."""
    path: list[str] = []
    at = 0
    while at < len(data):
        count = data[at + 1]
        numbers = [
            str(each)
            for (each,) in struct.iter_unpack(
                ">I" if width == 4 else ">H", data[at + 2 : at + 2 + count * width]
            )
        ]
        if len(numbers) != count:
            raise ValueError("a path goes beyond its attribute")
        path += ["{" + ",".join(numbers) + "}"] if data[at] == AS_SET else numbers
        at += 2 + count * width
    return path


def _family(routes: bytes) -> int:
    """Bytes of an address in an MP attribute; ValueError for what is not IP unicast or multicast."""
    family, _ = struct.unpack_from(">HB", routes)
    if family not in (1, 2):
        raise ValueError(f"address family {family}")
    return 4 if family == 1 else 16


def _prefixes(data: bytes, size: int, agreed: Agreed) -> Iterator[Row]:
    """The prefixes one after the other, with their path identifiers where there are any."""
    at = 0
    while at < len(data):
        row: Row = {}
        if size in agreed.many_paths:
            row = {"path_id": int.from_bytes(data[at : at + 4])}
            at += 4
        bits = data[at]
        octets = (bits + 7) // 8
        if bits > 8 * size or at + 1 + octets > len(data):
            raise ValueError("a prefix goes beyond its field")
        address = data[at + 1 : at + 1 + octets].ljust(size, b"\0")
        yield {"prefix": f"{ipaddress.ip_address(address)}/{bits}"} | row
        at += 1 + octets


@dataclass(frozen=True)
class _Offers:
    """What an end of a session says it can do; an end whose OPEN was not seen, what most can."""

    four_octets: bool = True
    sends: frozenset[int] = frozenset()  # several paths, by the bytes of an address
    receives: frozenset[int] = frozenset()

    def to(self, other: _Offers) -> Agreed:
        """What this end may send the other."""
        return Agreed(self.four_octets and other.four_octets, self.sends & other.receives)


def _offers(stream: _Stream) -> _Offers:
    for _, kind, body in messages(stream.segments, stream.syn):
        if kind == OPEN:
            capabilities = list(_capabilities(body))
            modes = {
                (4 if family == 1 else 16): mode
                for code, value in capabilities
                if code == ADD_PATH
                for family, service, mode in struct.iter_unpack(">HBB", value[: len(value) // 4 * 4])
                if family in (1, 2) and service == 1
            }
            return _Offers(
                any(code == FOUR_OCTETS for code, _ in capabilities),
                frozenset(size for size, mode in modes.items() if mode & ADD_PATH_SEND),
                frozenset(size for size, mode in modes.items() if mode & ADD_PATH_RECEIVE),
            )
    return _Offers()


def _capabilities(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The capabilities of an OPEN: (code, value)."""
    options, at = body[10:], 0
    while at + 2 <= len(options):
        kind, length = options[at], options[at + 1]
        value, inside = options[at + 2 : at + 2 + length], 0
        while kind == CAPABILITIES and inside + 2 <= len(value):
            yield value[inside], value[inside + 2 : inside + 2 + value[inside + 1]]
            inside += 2 + value[inside + 1]
        at += 2 + length
