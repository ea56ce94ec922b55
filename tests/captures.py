"""Captures made by hand: frames, the files they are kept in, and what a small network would record."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.job import Interface, Job, Link, Node, Session, Shape
from testbed.measure.points import Point, points

S, MS = 10**9, 10**6
EPOCH_NS = 1_767_225_600 * S
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Seen = tuple[int, bytes]  # unix_ns, frame


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def ethernet(payload: bytes, src: str, dst: str, kind: int = 0x0800, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    macs = bytes.fromhex((dst + src).replace(":", ""))
    return macs + tag + struct.pack(">H", kind) + payload


def ipv4(
    payload: bytes, src: str, dst: str, proto: int, ident: int = 0, ttl: int = 64, tos: int = 0
) -> bytes:
    ends = ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed
    return (
        struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(payload), ident, 0x4000, ttl, proto, 0) + ends + payload
    )


def ipv6(payload: bytes, src: str, dst: str, proto: int, hops: int = 64) -> bytes:
    ends = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), proto, hops) + ends + payload


def tcp(
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    data: bytes = b"",
    *,
    options: bytes = b"",
    window: int = 500,
) -> bytes:
    options += b"\x01" * (-len(options) % 4)
    words = (20 + len(options)) // 4
    check = zlib.crc32(data) & 0xFFFF
    header = struct.pack(
        ">HHIIHHHH", sport, dport, seq % 2**32, ack % 2**32, words << 12 | flags, window, check, 0
    )
    return header + options + data


def stamps(value: int, echo: int) -> bytes:
    return struct.pack(">BBBBII", 1, 1, 8, 10, value, echo)


def udp(sport: int, dport: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(data), zlib.crc32(data) & 0xFFFF) + data


def write_pcap(
    path: Path, seen: Iterable[Seen], *, snap: int = 65535, order: str = "<", microseconds: bool = False
) -> Path:
    magic, scale = (0xA1B2C3D4, 1000) if microseconds else (0xA1B23C4D, 1)
    pieces = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, 1)]
    for t_ns, frame in seen:
        kept = frame[:snap]
        header = struct.pack(f"{order}IIII", t_ns // S, t_ns % S // scale, len(kept), len(frame))
        pieces += [header, kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pieces))
    return path


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of a pcapng file."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(interfaces: Sequence[tuple[str, int]] = (("eth0", 9),), order: str = "<", link: int = 1) -> bytes:
    """A pcapng section's start: its interfaces by name, each with its if_tsresol."""
    made = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    for name, resolution in interfaces:
        options = option(2, name.encode(), order) + option(9, bytes([resolution]), order) + bytes(4)
        made += block(1, struct.pack(f"{order}HHI", link, 0, 0) + options, order)
    return made


def enhanced(
    stamp: int, frame: bytes, *, interface: int = 0, order: str = "<", way: int = 0, wire: int = 0
) -> bytes:
    """A pcapng packet; `stamp` is in its interface's unit, `way` 1 for in and 2 for out."""
    head = struct.pack(
        f"{order}IIIII", interface, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), wire or len(frame)
    )
    flags = option(2, struct.pack(f"{order}I", way), order) + bytes(4) if way else b""
    return block(6, head + frame + bytes(-len(frame) % 4) + flags, order)


@dataclass(frozen=True)
class Tagged:
    """A frame whose VLAN tag the kernel keeps beside it."""

    frame: bytes
    tci: int
    tpid: int | None = None


def ring_block(seen: Sequence[tuple[int, bytes | Tagged]], sequence: int = 1, snap: int = 65535) -> bytes:
    """A block as the kernel fills it: header, then packets on 8-byte boundaries, cut to blk_len."""
    body = bytearray()
    last = 0
    for t_ns, what in seen:
        frame = what.frame if isinstance(what, Tagged) else what
        status = 1
        tci = tpid = 0
        if isinstance(what, Tagged):
            status |= 1 << 4 | (1 << 6 if what.tpid else 0)
            tci, tpid = what.tci, what.tpid or 0
        kept = frame[:snap]
        size = (82 + len(kept) + 7) // 8 * 8
        last = len(body)
        header = struct.pack("<IIIIIIHHIIHH8x", size, t_ns // S, t_ns % S, len(kept), len(frame), status,
                             82, 96, 0, tci, tpid, 0)  # fmt: skip
        body += (header + bytes(82 - len(header)) + kept).ljust(size, b"\0")
    if seen:
        struct.pack_into("<I", body, last, 0)
    return struct.pack("<IIIIIIQIIII", 2, 48, 1, len(seen), 48, 48 + len(body), sequence, 0, 0, 0, 0) + bytes(
        body
    )


def write_ring(path: Path, seen: Sequence[Seen], per_block: int = 3, snap: int = 65535) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [
        ring_block(seen[at : at + per_block], at // per_block, snap) for at in range(0, len(seen), per_block)
    ]
    path.write_bytes(b"".join(blocks))
    return path


def point(**changes: Any) -> Point:
    """A capture at the client c1, whose router is r1."""
    return dataclasses.replace(points(network())[0], **changes)


def network(**changes: Any) -> Job:
    """c1 and c2 behind r1, which meets r2 over a switch; s1 and a second exit x1 behind r2."""
    wires = [("c1", "r1"), ("c2", "r1"), ("r1", "ix"), ("r2", "ix"), ("r2", "s1"), ("r2", "x1")]
    roles = {
        "c1": "client",
        "c2": "client",
        "r1": "router",
        "r2": "router",
        "ix": "exchange",
        "s1": "oca",
        "x1": "oca",
    }
    interfaces: dict[str, list[Interface]] = {name: [] for name in roles}
    links = []
    number = 0
    for a, b in wires:
        names = []
        for node, peer, host in ((a, b, 0), (b, a, 1)):
            name = f"eth{len(interfaces[node])}"
            number += 1
            address = "" if node == "ix" else f"10.0.{len(links)}.{host}/31"
            if peer == "ix":
                address = f"10.0.9.{node[1]}/24"
            interfaces[node].append(
                Interface(name=name, link=f"{a}--{b}", mac=mac(number), address=address, peer=peer)
            )
            names.append(name)
        links.append(
            Link(
                name=f"{a}--{b}",
                a=a,
                a_interface=names[0],
                b=b,
                b_interface=names[1],
                a_to_b=Shape(),
                b_to_a=Shape(),
            )
        )
    nodes = tuple(
        Node(
            name=name,
            role=role,
            isp="north" if role == "client" else "",
            address="" if name == "ix" else interfaces[name][0].address.split("/")[0],
            bridge=name == "ix",
            forwards=role == "router",
            interfaces=tuple(interfaces[name]),
            loopbacks=(f"192.0.2.{name[1]}/32",) if role == "router" else (),
        )
        for name, role in roles.items()
    )
    given: dict[str, Any] = {
        "scenario": "made", "topology": "small", "seed": 1, "clock": "virtual", "zone": "cdn.example",
        "duration_ns": 20 * S, "epoch_ns": EPOCH_NS, "nodes": nodes, "links": tuple(links),
        "captures": tuple(each.name for each in links),
        "sessions": (watched("s0001", 0), watched("s0002", S)),
    }  # fmt: skip
    return Job(**{**given, **changes})


def watched(name: str, start_ns: int) -> Session:
    return Session(
        id=name, client="c1", title="film", abr="bba", start_ns=start_ns, buffer_ns=0,
        startup_ns=0, timeout_ns=0, resolver="10.0.0.53", ca="/ca.pem",
    )  # fmt: skip


def in_ipv6(job: Job) -> Job:
    """The same network with an IPv6 address for every IPv4 one."""

    def end(interface: Interface) -> Interface:
        return dataclasses.replace(interface, address="", address6=_in_ipv6(interface.address))

    nodes = (
        dataclasses.replace(
            node, address="", address6=_in_ipv6(node.address), interfaces=tuple(map(end, node.interfaces)),
            loopbacks=tuple(map(_in_ipv6, node.loopbacks)),
        )
        for node in job.nodes
    )  # fmt: skip
    return dataclasses.replace(job, nodes=tuple(nodes))


def _in_ipv6(own: str) -> str:
    bare, slash, length = own.partition("/")
    return f"2001:db8::{bare.replace('.', ':')}{slash}{length and int(length) + 96}" if bare else ""


def address(job: Job, node: str) -> str:
    return job.node(node).address or job.node(node).address6


class Network:
    """Records what every link of a job sees of the packets sent through it."""

    def __init__(self, job: Job | None = None) -> None:
        self.job = job or network()
        self.seen: dict[str, list[Seen]] = {each.name: [] for each in points(self.job)}
        self._points = {each.link: each for each in points(self.job)}
        self._sent = 0

    def send(
        self,
        t_ns: int,
        path: str,
        segment: bytes,
        *,
        proto: int = 6,
        hop_ns: int = MS,
        lost_at: str = "",
        ident: int | None = None,
    ) -> None:
        """Send a segment along nodes ("c1 r1 ix r2 s1"): each hop but the first takes `hop_ns`.

        At the node `lost_at` it is lost. `ident` is the IP identification; each packet has its own if
        it is not given.
        """
        nodes = path.split()
        self._sent += 1
        ident = self._sent if ident is None else ident
        src, dst = address(self.job, nodes[0]), address(self.job, nodes[-1])
        for index, (here, there) in enumerate(itertools.pairwise(nodes)):
            if here == lost_at:
                return
            place = self._points[self.job.link(f"{here}--{there}").name]
            out, into = (place.mac, place.peer_mac) if place.node == here else (place.peer_mac, place.mac)
            if here == "ix":
                out = self._mac(nodes[index - 1], "ix")
            if there == "ix":
                into = self._mac(nodes[index + 2], "ix")
            if ":" in src:
                packet, kind = ipv6(segment, src, dst, proto, hops=64 - index), 0x86DD
            else:
                packet, kind = ipv4(segment, src, dst, proto, ident=ident, ttl=64 - index), 0x0800
            at = EPOCH_NS + t_ns + index * hop_ns
            self.seen[place.name].append((at, ethernet(packet, out.hex(), into.hex(), kind)))

    def _mac(self, node: str, peer: str) -> bytes:
        return next(
            bytes.fromhex(each.mac.replace(":", ""))
            for each in self.job.node(node).interfaces
            if each.peer == peer
        )

    def write(
        self,
        run: Path,
        *,
        rings: bool = False,
        snap: int = 128,
        records: Iterable[dict[str, Any]] = (),
        **guest: Any,
    ) -> Path:
        """Leave a run folder as a venue does."""
        run.mkdir(parents=True, exist_ok=True)
        (run / "job.json").write_text(self.job.dumps())
        capture = {name: {"packets": len(seen), "drops": 0} for name, seen in self.seen.items()}
        told = {
            "finished": True,
            "t0_unix_ns": EPOCH_NS,
            "end_unix_ns": EPOCH_NS + 20 * S,
            "capture": capture,
        }
        (run / "guest.json").write_text(json.dumps(told | guest))
        (run / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
        for name, seen in self.seen.items():
            ordered = sorted(seen, key=lambda each: each[0])
            if rings:
                write_ring(run / "captures" / f"{name}.ring", ordered, per_block=50, snap=snap)
            else:
                write_pcap(run / "captures" / f"{name}.pcap", ordered, snap=snap)
        return run
