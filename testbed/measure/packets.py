"""Packets are parsed for a whole chunk of a capture at once, each header field one array.

Ethernet (RFC 894) with up to two VLAN tags, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200; its
extension headers are skipped), ICMP, TCP (RFC 9293), UDP (RFC 768). A field that the snap length
cut off, or that the packet does not have, is absent. Lengths come from the IP header, so they do
not depend on the snap length.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from testbed.measure import tcp_options
from testbed.measure.addresses import Addresses, mix
from testbed.measure.pcap import Records, gather
from testbed.measure.points import Point

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ARP, OTHER = 256, 257  # beyond the 8-bit protocol numbers of IP
PROTOCOLS = tuple(
    {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6", ARP: "arp", OTHER: "other"}.get(
        number, str(number)
    )
    for number in range(258)
)
FIN, SYN, RST, ACK = 1, 2, 4, 16
WHOLE_PORTS = (53, 179)  # DNS and BGP: captured whole, their payload is kept

_ETHERNET = np.dtype([("dst", "V6"), ("src", "V6"), ("type", ">u2")])
_TYPE = np.dtype([("type", ">u2")])
_IPV4 = np.dtype(
    [
        ("version_ihl", "u1"), ("tos", "u1"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"),
        ("ttl", "u1"), ("proto", "u1"), ("checksum", ">u2"), ("src", ">u4"), ("dst", ">u4"),
    ]
)  # fmt: skip
_IPV6 = np.dtype(
    [("word", ">u4"), ("length", ">u2"), ("next", "u1"), ("hops", "u1"), ("src", ">u8", 2), ("dst", ">u8", 2)]
)
_ARP = np.dtype([("fixed", "V8"), ("sha", "V6"), ("spa", ">u4"), ("tha", "V6"), ("tpa", ">u4")])
_TCP = np.dtype(
    [
        ("sport", ">u2"), ("dport", ">u2"), ("seq", ">u4"), ("ack", ">u4"), ("offset_flags", ">u2"),
        ("window", ">u2"), ("checksum", ">u2"), ("urgent", ">u2"), ("options", "V40"),
    ]
)  # fmt: skip
_UDP = np.dtype([("sport", ">u2"), ("dport", ">u2"), ("length", ">u2"), ("checksum", ">u2")])
_EXTENSION = np.dtype([("next", "u1"), ("length", "u1"), ("fragment", ">u2")])
_EXTENSIONS = (0, 43, 44, 51, 60, 135)  # hop-by-hop, routing, fragment, AH, options, mobility
_FRAGMENT, _AH = 44, 51

Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


@dataclass
class Packets:
    """The packets of one capture point in the order of time; every field has an entry for each."""

    t_ns: npt.NDArray[np.int64]
    out: Bools  # leaves the capturing interface's node
    addressed: Bools  # the receiving end takes it: it is a switch or has the destination's MAC
    has_ip: Bools
    has_ipv4: Bools
    has_ports: Bools
    has_tcp: Bools
    has_addresses: Bools
    has_stamps: Bools
    src: npt.NDArray[np.uint32]  # numbers of `Addresses`
    dst: npt.NDArray[np.uint32]
    proto: npt.NDArray[np.uint16]
    sport: npt.NDArray[np.uint16]
    dport: npt.NDArray[np.uint16]
    length: npt.NDArray[np.uint32]
    ttl: npt.NDArray[np.uint8]
    ip_id: npt.NDArray[np.uint16]
    ecn: npt.NDArray[np.uint8]
    tcp_flags: npt.NDArray[np.uint16]
    tcp_seq: npt.NDArray[np.uint32]
    tcp_ack: npt.NDArray[np.uint32]
    tcp_window: npt.NDArray[np.uint16]
    payload_length: npt.NDArray[np.uint32]  # of TCP and UDP
    ts_val: npt.NDArray[np.uint32]
    ts_ecr: npt.NDArray[np.uint32]
    sack_counts: npt.NDArray[np.uint8]
    sack: npt.NDArray[np.uint32]  # the lists of all packets, one after the other
    fingerprint: npt.NDArray[np.uint64]  # of all that no hop changes
    flow_id: npt.NDArray[np.uint32]  # 0: no flow
    retransmission: Bools
    payloads: dict[int, bytes] = field(default_factory=dict)  # of WHOLE_PORTS, by index

    def __len__(self) -> int:
        return len(self.t_ns)


_NOT_PER_PACKET = {"sack", "payloads"}
_COLUMNS = [each.name for each in dataclasses.fields(Packets) if each.name not in _NOT_PER_PACKET]


def joined(chunks: list[Packets]) -> Packets:
    """The chunks of one capture as one, in the order of time.

    Two processors that feed one socket can leave a capture slightly out of order.
    """
    columns = {name: np.concatenate([getattr(each, name) for each in chunks]) for name in _COLUMNS}
    sack = np.concatenate([each.sack for each in chunks])
    payloads: dict[int, bytes] = {}
    before = 0
    for each in chunks:
        payloads |= {before + index: payload for index, payload in each.payloads.items()}
        before += len(each)
    if (np.diff(columns["t_ns"]) < 0).any():
        order = np.argsort(columns["t_ns"], kind="stable")
        lists = np.split(sack, np.cumsum(columns["sack_counts"], dtype=np.int64)[:-1])
        sack = np.concatenate([lists[index] for index in order])
        columns = {name: column[order] for name, column in columns.items()}
        place = np.argsort(order)
        payloads = {int(place[index]): payload for index, payload in payloads.items()}
    return Packets(**columns, sack=sack, payloads=payloads)


def nothing() -> Packets:
    """A capture without a packet."""
    empty = np.empty(0, np.int64)
    records = Records(np.zeros(512, np.uint8), empty, empty, empty, empty)
    nowhere = Point(
        node="",
        interface="",
        link="",
        mac=bytes(6),
        bridge=False,
        peer="",
        peer_mac=bytes(6),
        peer_bridge=False,
    )
    return parse(records, nowhere, 0, Addresses())


def parse(records: Records, point: Point, t0_unix_ns: int, addresses: Addresses) -> Packets:
    """Parse the packets of a chunk seen at a capture point."""
    buffer, start = records.buffer, records.offsets
    end = start + records.captured
    count = len(start)
    out, addressed, ethertype, network = _ethernet(records, point)

    ipv4 = gather(buffer, network, _IPV4)
    header = (ipv4["version_ihl"] & 15).astype(np.int64) * 4
    has_ipv4 = (
        (ethertype == 0x0800) & (network + 20 <= end) & (ipv4["version_ihl"] >> 4 == 4) & (header >= 20)
    )
    has_ipv6 = (ethertype == 0x86DD) & (network + 40 <= end)
    has_arp = (ethertype == 0x0806) & (network + 28 <= end)
    if has_ipv6.any():
        ipv6 = gather(buffer, network, _IPV6)
        has_ipv6 &= ipv6["word"] >> 28 == 6
    else:
        ipv6 = np.zeros(count, _IPV6)

    proto = np.full(count, OTHER, np.uint16)
    proto[ethertype == 0x0806] = ARP
    proto[has_ipv4] = ipv4["proto"][has_ipv4]
    transport = network + header
    # An offloaded segment longer than 64 KiB has a total length of 0.
    total = ipv4["length"].astype(np.int64)
    last = network + np.where(total, total, records.wire - (network - start))
    first_fragment = ipv4["fragment"] & 0x1FFF == 0
    if has_ipv6.any():
        _ipv6_transport(
            buffer, network, end, np.flatnonzero(has_ipv6), ipv6, proto, transport, first_fragment
        )
        last[has_ipv6] = network[has_ipv6] + 40 + ipv6["length"][has_ipv6]
    has_ip = has_ipv4 | has_ipv6

    src, dst = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    src[has_ipv4] = addresses.of_ipv4(ipv4["src"][has_ipv4].astype(np.uint32))
    dst[has_ipv4] = addresses.of_ipv4(ipv4["dst"][has_ipv4].astype(np.uint32))
    if has_arp.any():
        arp = gather(buffer, network[has_arp], _ARP)
        src[has_arp] = addresses.of_ipv4(arp["spa"].astype(np.uint32))
        dst[has_arp] = addresses.of_ipv4(arp["tpa"].astype(np.uint32))
    if has_ipv6.any():
        src[has_ipv6] = addresses.of_ipv6(ipv6["src"][has_ipv6].astype(np.uint64))
        dst[has_ipv6] = addresses.of_ipv6(ipv6["dst"][has_ipv6].astype(np.uint64))

    transport = np.minimum(transport, end)  # a chain of extension headers may claim to go on for long
    reach = np.minimum(end, np.maximum(last, transport))
    has_tcp = has_ip & first_fragment & (proto == TCP) & (transport + 20 <= reach)
    has_udp = has_ip & first_fragment & (proto == UDP) & (transport + 8 <= reach)
    has_ports = has_tcp | has_udp
    udp = gather(buffer, transport, _UDP)
    rows = np.flatnonzero(has_tcp)
    tcp = gather(buffer, transport[rows], _TCP)
    tcp_header = (tcp["offset_flags"] >> 12).astype(np.int64) * 4
    readable = np.minimum(tcp_header, reach[rows] - transport[rows])
    options = tcp_options.walk(tcp.view(np.uint8).reshape(-1, 60), readable)

    def scattered(values: npt.NDArray[np.generic], kind: type[Number]) -> npt.NDArray[Number]:
        full: npt.NDArray[Number] = np.zeros(count, kind)
        full[rows] = values
        return full

    payload_at = transport + 8
    payload_at[rows] += tcp_header - 8
    payload_length = np.where(has_ports, np.maximum(last - payload_at, 0), 0)
    icmp = has_ip & ((proto == ICMP) | (proto == ICMP6)) & (transport + 8 <= reach)
    tos = np.where(has_ipv6, ipv6["word"] >> 20, ipv4["tos"])
    packets = Packets(
        t_ns=records.unix_ns - t0_unix_ns,
        out=out,
        addressed=addressed,
        has_ip=has_ip,
        has_ipv4=has_ipv4,
        has_ports=has_ports,
        has_tcp=has_tcp,
        has_addresses=has_ip | has_arp,
        has_stamps=scattered(options.has_stamps, np.bool_),
        src=src,
        dst=dst,
        proto=proto,
        sport=udp["sport"] * has_ports,
        dport=udp["dport"] * has_ports,
        length=records.wire.astype(np.uint32),
        ttl=np.where(has_ipv6, ipv6["hops"], ipv4["ttl"]),
        ip_id=ipv4["id"].astype(np.uint16),
        ecn=(tos & 3).astype(np.uint8),
        tcp_flags=scattered(tcp["offset_flags"] & 0x1FF, np.uint16),
        tcp_seq=scattered(tcp["seq"], np.uint32),
        tcp_ack=scattered(tcp["ack"], np.uint32),
        tcp_window=scattered(tcp["window"], np.uint16),
        payload_length=payload_length.astype(np.uint32),
        ts_val=scattered(options.ts_val, np.uint32),
        ts_ecr=scattered(options.ts_ecr, np.uint32),
        sack_counts=scattered(options.sack_counts, np.uint8),
        sack=options.sack,
        fingerprint=np.zeros(count, np.uint64),
        flow_id=np.zeros(count, np.uint32),
        retransmission=np.zeros(count, np.bool_),
    )
    checksum = udp["checksum"] * has_udp + udp["length"] * icmp  # ICMP: identifier and sequence
    checksum += udp["dport"] * icmp  # and its checksum
    packets.fingerprint = _fingerprint(packets, scattered(tcp["checksum"], np.uint16) + checksum)
    whole = has_ports & (np.isin(packets.sport, WHOLE_PORTS) | np.isin(packets.dport, WHOLE_PORTS))
    for index in np.flatnonzero(whole & (payload_length > 0)).tolist():
        stop = min(int(end[index]), int(payload_at[index] + payload_length[index]))
        packets.payloads[index] = buffer[payload_at[index] : stop].tobytes()
    return packets


def _ethernet(
    records: Records, point: Point
) -> tuple[Bools, Bools, npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Direction, whether the receiver takes the frame, the EtherType, and where its payload starts."""
    buffer, start = records.buffer, records.offsets
    frames = gather(buffer, start, _ETHERNET)
    src = np.frombuffer(frames["src"].tobytes(), np.uint8).reshape(-1, 6)
    dst = np.frombuffer(frames["dst"].tobytes(), np.uint8).reshape(-1, 6)

    def same(macs: npt.NDArray[np.uint8], mac: bytes) -> Bools:
        equal: Bools = (macs == np.frombuffer(mac, np.uint8)).all(axis=1)
        return equal

    # What a switch sends has the MAC of the station behind it, what it receives that of the peer.
    out = ~same(src, point.peer_mac) if point.bridge else same(src, point.mac)
    to_peer = np.full(len(dst), True) if point.peer_bridge else same(dst, point.peer_mac)
    to_node = np.full(len(dst), True) if point.bridge else same(dst, point.mac)
    ethertype = frames["type"].astype(np.uint16)
    network = start + 14
    for _ in range(2):
        tagged = (ethertype == 0x8100) | (ethertype == 0x88A8)
        if not tagged.any():
            break
        ethertype[tagged] = gather(buffer, network[tagged] + 2, _TYPE)["type"]
        network[tagged] += 4
    ethertype[network > start + records.captured] = 0
    return out, np.where(out, to_peer, to_node), ethertype, network


def _ipv6_transport(
    buffer: npt.NDArray[np.uint8],
    network: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    ipv6: npt.NDArray[np.void],
    proto: npt.NDArray[np.uint16],
    transport: npt.NDArray[np.int64],
    first_fragment: Bools,
) -> None:
    """Skip the extension headers of the IPv6 packets `rows` and fill in what follows them."""
    proto[rows] = ipv6["next"][rows]
    transport[rows] = network[rows] + 40
    first_fragment[rows] = True
    rows = rows[np.isin(proto[rows], _EXTENSIONS)]
    while len(rows := rows[transport[rows] + 8 <= end[rows]]):
        extension = gather(buffer, transport[rows], _EXTENSION)
        kind, units = proto[rows], extension["length"].astype(np.int64)
        size = np.where(kind == _FRAGMENT, 8, np.where(kind == _AH, (units + 2) * 4, (units + 1) * 8))
        first_fragment[rows] &= (kind != _FRAGMENT) | (extension["fragment"] >> 3 == 0)
        proto[rows] = extension["next"]
        transport[rows] += size
        rows = rows[np.isin(proto[rows], _EXTENSIONS) & first_fragment[rows]]


def _fingerprint(packets: Packets, checksum: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """A hash of the fields that stay the same from hop to hop.

    The transport's checksum stands for the payload. Left out are what routers change: MAC
    addresses, TTL, ECN and the IP checksum.
    """
    state = np.zeros(len(packets), np.uint64)
    state = mix(state, packets.src.astype(np.uint64) << np.uint64(32) | packets.dst)
    ports = packets.sport.astype(np.uint64) << np.uint64(16) | packets.dport
    state = mix(state, ports << np.uint64(32) | packets.length)
    identity = (packets.ip_id * packets.has_ipv4).astype(np.uint64) << np.uint64(16) | packets.proto
    state = mix(state, identity << np.uint64(32) | checksum.astype(np.uint64))
    state = mix(state, packets.tcp_seq.astype(np.uint64) << np.uint64(32) | packets.tcp_ack)
    return mix(state, packets.ts_val.astype(np.uint64) << np.uint64(32) | packets.ts_ecr)
