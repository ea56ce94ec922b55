import contextlib
import logging
import struct

import numpy as np
import pytest
from captures import ACK, EPOCH_NS, SYN, ethernet, ipv4, ipv6, mac, point, stamps, tcp, udp, write_pcap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.measure.capture import read
from testbed.measure.native import EXTRA, ROW
from testbed.measure.packets import ADDRESSED, ADDRESSES, IP, IPV4, PROTOCOLS, STAMPS, Packets

logging.getLogger("scapy").setLevel(logging.ERROR)
scapy = pytest.importorskip("scapy.all", reason="scapy is not installed, and is the judge here")

HERE = point()
OWN, PEER = HERE.mac.hex(), HERE.peer_mac.hex()
NEVER_CRASH = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def taken(tmp_path, path, place=HERE):
    """All packets of a capture file, and the texts of their addresses."""
    capture = read(path, place, EPOCH_NS, tmp_path / "spool")
    parts = list(capture.packets())
    rows = np.concatenate([np.empty(0, ROW), *(each.rows for each in parts)])
    extras = np.concatenate([np.empty(0, EXTRA), *(each.extras for each in parts)])
    return Packets(rows, extras, 0, capture.control.payloads), capture.addresses


def parsed(tmp_path, *frames, place=HERE, snap=65535):
    """The packets of these frames, seen 1 µs apart, and the texts of their addresses."""
    seen = [(EPOCH_NS + 1000 * number, frame) for number, frame in enumerate(frames)]
    return taken(tmp_path, write_pcap(tmp_path / "a.pcap", seen, snap=snap), place)


def sacks(packets):
    """The SACK blocks of each packet, as a flat list of edges."""
    return [
        packets.extras[number - 1]["words"][: packets.extras[number - 1]["count"]].tolist() if number else []
        for number in packets.extra.tolist()
    ]


def frame(payload, kind=0x0800, **how):
    return ethernet(payload, OWN, PEER, kind, **how)


@pytest.mark.parametrize("vlan", [None, 7])
def test_the_fields_of_a_segment(tmp_path, vlan):
    sack = (
        b"\x01\x01\x05\x12"
        + (1000).to_bytes(4)
        + (2000).to_bytes(4)
        + (3000).to_bytes(4)
        + (4000).to_bytes(4)
    )
    segment = tcp(
        5000, 443, 2**32 - 5, 77, ACK | 0x100, b"x" * 300, options=stamps(11, 22) + sack, window=999
    )
    whole = frame(ipv4(segment, "10.0.0.0", "10.0.4.1", 6, ident=4711, ttl=61, tos=3), vlan=vlan)
    packets, texts = parsed(tmp_path, whole, snap=128)
    assert (texts[packets.src[0]], texts[packets.dst[0]]) == ("10.0.0.0", "10.0.4.1")
    names = ("sport", "dport", "tcp_seq", "tcp_ack", "payload_length", "tcp_window", "ts_val", "ts_ecr")
    assert [int(getattr(packets, name)[0]) for name in names] == [5000, 443, 2**32 - 5, 77, 300, 999, 11, 22]
    assert (packets.tcp_flags[0], packets.ip_id[0], packets.ttl[0], packets.tos[0]) == (0x110, 4711, 61, 3)
    assert packets.length[0] == len(whole)
    assert sacks(packets) == [[1000, 2000, 3000, 4000]]
    assert packets.vlan.tolist() == [vlan or 0]


def test_ipv6_behind_extension_headers(tmp_path):
    datagram = udp(4000, 53, b"question")
    hop_by_hop = bytes([17, 0]) + bytes(6)
    fragment_first = bytes([17, 0, 0, 1]) + bytes(4)
    fragment_later = bytes([17, 0, 0, 9]) + bytes(4)
    packets, texts = parsed(
        tmp_path,
        frame(ipv6(datagram, "2001:db8::1", "2001:db8::2", 17), 0x86DD),
        frame(ipv6(hop_by_hop + datagram, "2001:db8::1", "2001:db8::2", 0, hops=9), 0x86DD),
        frame(ipv6(fragment_first + datagram, "2001:db8::1", "2001:db8::2", 44), 0x86DD),
        frame(ipv6(fragment_later + datagram, "2001:db8::1", "2001:db8::2", 44), 0x86DD),
        frame(ipv6(bytes([0, 255]) + bytes(6), "2001:db8::1", "2001:db8::2", 0), 0x86DD),
    )
    assert packets.has_ports.tolist() == [True, True, True, False, False]
    assert packets.sport.tolist() == [4000, 4000, 4000, 0, 0]
    assert packets.payload_length.tolist() == [8, 8, 8, 0, 0]
    assert packets.ttl[1] == 9
    assert {texts[code] for code in packets.src} == {"2001:db8::1"}
    assert packets.payloads == {0: b"question", 1: b"question", 2: b"question"}


def test_arp_icmp_and_what_is_neither(tmp_path):
    arp = (
        bytes.fromhex("0001080006040001") + bytes(6) + bytes([10, 0, 0, 0]) + bytes(6) + bytes([10, 0, 0, 1])
    )
    packets, texts = parsed(
        tmp_path,
        frame(arp, 0x0806),
        frame(ipv4(b"\x08" + bytes(15), "10.0.0.0", "10.0.0.1", 1)),
        frame(bytes(40), 0x88CC),
        frame(ipv4(bytes(20), "10.0.0.0", "224.0.0.5", 89)),
    )
    assert [PROTOCOLS[number] for number in packets.proto] == ["arp", "icmp", "other", "89"]
    assert packets.are(ADDRESSES).tolist() == [True, True, False, True]
    assert (texts[packets.src[0]], texts[packets.dst[0]]) == ("10.0.0.0", "10.0.0.1")
    assert not packets.has_ports.any()


def test_direction_comes_from_the_mac_and_at_a_switch_from_the_peers(tmp_path):
    packet = ipv4(udp(1, 2, b""), "10.0.0.0", "10.0.0.1", 17)
    frames = [
        ethernet(packet, OWN, PEER),
        ethernet(packet, PEER, OWN),
        ethernet(packet, mac(99), OWN),
        ethernet(packet, OWN, mac(99)),
    ]
    packets, _ = parsed(tmp_path, *frames)
    assert packets.out.tolist() == [True, False, False, True]
    assert packets.are(ADDRESSED).tolist() == [True, True, True, False]
    packets, _ = parsed(tmp_path, *frames, place=point(bridge=True))
    assert packets.out.tolist() == [True, False, True, True]
    assert packets.are(ADDRESSED).tolist() == [True, True, False, False]


def test_the_fingerprint_stays_on_the_way_and_tells_packets_apart(tmp_path):
    segment = tcp(5000, 443, 1, 1, ACK, b"x")
    one = frame(ipv4(segment, "10.0.0.0", "10.0.4.1", 6, ident=1, ttl=64))
    later = ethernet(ipv4(segment, "10.0.0.0", "10.0.4.1", 6, ident=1, ttl=60, tos=3), mac(50), mac(51))
    again = frame(ipv4(segment, "10.0.0.0", "10.0.4.1", 6, ident=2, ttl=64))
    other = frame(ipv4(tcp(5000, 443, 1, 1, ACK, b"y"), "10.0.0.0", "10.0.4.1", 6, ident=1))
    packets, _ = parsed(tmp_path, one, later, again, other)
    prints = packets.fingerprint.tolist()
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_packets_out_of_order_are_put_in_the_order_of_time(tmp_path):
    def seen(port, option):
        return frame(
            ipv4(tcp(port, 179, 1, 1, ACK, str(port).encode(), options=option), "10.0.0.0", "10.0.0.1", 6)
        )

    blocks = b"\x05\x0a" + (7).to_bytes(4) + (9).to_bytes(4)
    order = [(EPOCH_NS + 5, seen(5, b"")), (EPOCH_NS + 2, seen(2, blocks)), (EPOCH_NS + 9, seen(9, b""))]
    path = write_pcap(tmp_path / "b.pcap", order)
    packets, _ = taken(tmp_path, path)
    assert packets.t_ns.tolist() == [2, 5, 9]
    assert packets.sport.tolist() == [2, 5, 9]
    assert sacks(packets) == [[7, 9], [], []]
    assert packets.payloads == {0: b"2", 1: b"5", 2: b"9"}


PORTS = st.integers(0, 65535)
WORDS = st.integers(0, 2**32 - 1)
OPTIONS = st.lists(
    st.one_of(
        st.just(("NOP", None)),
        st.tuples(st.just("MSS"), PORTS),
        st.tuples(st.just("WScale"), st.integers(0, 14)),
        st.tuples(st.just("Timestamp"), st.tuples(WORDS, WORDS)),
        st.tuples(
            st.just("SAck"),
            st.lists(WORDS, min_size=2, max_size=6).filter(lambda edges: len(edges) % 2 == 0).map(tuple),
        ),
    ),
    max_size=4,
    unique_by=lambda option: option[0] if option[0] != "NOP" else object(),
)


@st.composite
def segments(draw):
    """A random TCP or UDP packet as scapy builds it."""
    if draw(st.booleans()):
        network = scapy.IP(
            src=f"10.{draw(st.integers(0, 255))}.0.1",
            dst="10.1.2.3",
            id=draw(PORTS),
            ttl=draw(st.integers(1, 255)),
            tos=draw(st.integers(0, 255)),
        )
    else:
        network = scapy.IPv6(
            src=f"2001:db8::{draw(st.integers(1, 9999)):x}",
            dst="2001:db8::2",
            hlim=draw(st.integers(1, 255)),
            tc=draw(st.integers(0, 255)),
        )
    if draw(st.booleans()):
        options = draw(OPTIONS)
        transport = scapy.TCP(
            sport=draw(PORTS),
            dport=draw(PORTS),
            seq=draw(WORDS),
            ack=draw(WORDS),
            flags=draw(st.integers(0, 511)),
            window=draw(PORTS),
            options=options,
        )
    else:
        transport = scapy.UDP(sport=draw(PORTS), dport=draw(PORTS))
    data = scapy.Raw(draw(st.binary(min_size=1, max_size=60)))
    tag = scapy.Dot1Q(vlan=5) if draw(st.booleans()) else None
    macs = scapy.Ether(src=mac(1), dst=mac(2))
    return macs / tag / network / transport / data if tag else macs / network / transport / data


@NEVER_CRASH
@given(made=st.lists(segments(), min_size=1, max_size=6))
def test_scapy_reads_the_same(tmp_path, made):
    frames = []
    for each in made:
        with contextlib.suppress(Exception):  # options beyond 40 bytes do not fit
            frames.append(bytes(each))
    packets, texts = parsed(tmp_path, *frames)
    for index, data in enumerate(frames):
        packet = scapy.Ether(data)
        network = packet[scapy.IP] if scapy.IP in packet else packet[scapy.IPv6]
        version4 = scapy.IP in packet
        transport = packet[scapy.TCP] if scapy.TCP in packet else packet[scapy.UDP]
        assert (texts[packets.src[index]], texts[packets.dst[index]]) == (network.src, network.dst)
        assert packets.ttl[index] == (network.ttl if version4 else network.hlim)
        assert packets.tos[index] == (network.tos if version4 else network.tc)
        assert packets.are(IPV4)[index] == version4
        assert packets.ip_id[index] == (network.id if version4 else 0)
        assert (packets.sport[index], packets.dport[index]) == (transport.sport, transport.dport)
        if scapy.TCP not in packet:
            assert packets.payload_length[index] == transport.len - 8
            continue
        assert packets.has_tcp[index]
        size = network.len - network.ihl * 4 if version4 else network.plen
        assert packets.payload_length[index] == size - transport.dataofs * 4
        assert packets.tcp_flags[index] == int(transport.flags)
        assert (packets.tcp_seq[index], packets.tcp_ack[index]) == (transport.seq, transport.ack)
        assert packets.tcp_window[index] == transport.window
        options = dict(each for each in transport.options if each[0] != "NOP")
        assert packets.are(STAMPS)[index] == ("Timestamp" in options)
        assert packets.mss[index] == options.get("MSS", 0)
        assert packets.scale[index] == options.get("WScale", 0)
        assert (packets.ts_val[index], packets.ts_ecr[index]) == tuple(options.get("Timestamp", (0, 0)))
        assert sacks(packets)[index] == list(options.get("SAck", ()))


ADDRESS4 = st.integers(1, 254).map(lambda last: f"10.0.0.{last}")
ADDRESS6 = st.integers(1, 9999).map(lambda last: f"2001:db8::{last:x}")


@st.composite
def others(draw):
    """A random packet that is no plain TCP or UDP: ARP, ICMP that quotes, fragments, extension headers."""
    macs = scapy.Ether(src=mac(1), dst=mac(2))
    kind = draw(st.sampled_from(["arp", "icmp", "icmp6", "fragment", "fragment6", "extended"]))
    src, dst = draw(ADDRESS4), draw(ADDRESS4)
    inner = scapy.UDP(sport=draw(PORTS), dport=draw(PORTS)) / scapy.Raw(b"12345678")
    if kind == "arp":
        return macs / scapy.ARP(op=draw(st.sampled_from([1, 2])), psrc=src, pdst=dst)
    if kind == "icmp":
        error = scapy.ICMP(type=draw(st.sampled_from([3, 11, 12])), code=draw(st.integers(0, 15)))
        quoted = scapy.IP(src=draw(ADDRESS4), dst=draw(ADDRESS4), id=draw(PORTS)) / inner
        return macs / scapy.IP(src=src, dst=dst) / error / scapy.Raw(bytes(quoted)[:28])
    if kind == "fragment":
        offset = draw(st.integers(0, 8191))
        return macs / scapy.IP(src=src, dst=dst, proto=17, frag=offset, flags="MF") / scapy.Raw(bytes(inner))
    network = scapy.IPv6(src=draw(ADDRESS6), dst=draw(ADDRESS6), hlim=draw(st.integers(1, 255)))
    if kind == "icmp6":
        quoted = scapy.IPv6(src=draw(ADDRESS6), dst=draw(ADDRESS6)) / inner
        return macs / network / scapy.ICMPv6TimeExceeded(code=draw(st.integers(0, 1))) / quoted
    if kind == "fragment6":
        header = scapy.IPv6ExtHdrFragment(offset=draw(st.integers(0, 8191)), m=1, id=draw(WORDS), nh=17)
        return macs / network / header / scapy.Raw(bytes(inner))
    headers = (
        scapy.IPv6ExtHdrHopByHop(),
        scapy.IPv6ExtHdrDestOpt(),
        scapy.IPv6ExtHdrRouting(addresses=["2001:db8::1"]),
    )
    for header in draw(st.lists(st.sampled_from(headers), min_size=1, max_size=3)):
        network = network / header
    return macs / network / inner


@NEVER_CRASH
@given(made=st.lists(others(), min_size=1, max_size=6))
def test_scapy_reads_the_same_of_what_is_no_plain_packet(tmp_path, made):
    frames = [bytes(each) for each in made]
    packets, texts = parsed(tmp_path, *frames)
    for index, packet in enumerate(map(scapy.Ether, frames)):
        src, dst = texts[packets.src[index]], texts[packets.dst[index]]
        name = PROTOCOLS[packets.proto[index]]
        if scapy.ARP in packet:
            assert (name, src, dst) == ("arp", packet.psrc, packet.pdst)
            continue
        network = packet[scapy.IP] if scapy.IP in packet else packet[scapy.IPv6]
        assert (src, dst) == (network.src, network.dst)
        cut = packet.getlayer(scapy.IPv6ExtHdrFragment)
        offset = cut.offset if cut else network.frag if scapy.IP in packet else 0
        assert packets.fragment[index] == offset
        error = packet.getlayer(scapy.ICMP) or packet.getlayer(scapy.ICMPv6TimeExceeded)
        if error is None:
            ports = struct.unpack(">HH", frames[index][-16:-12])  # UDP, whose payload has eight bytes
            assert name == "udp"
            assert packets.has_ports[index] == (not offset)
            assert (packets.sport[index], packets.dport[index]) == (ports if not offset else (0, 0))
            continue
        assert (packets.icmp_type[index], packets.icmp_code[index]) == (error.type, error.code)
        quoted = packet.getlayer(scapy.IPerror) or packet.getlayer(scapy.IPerror6)
        transport = packet.getlayer(scapy.UDPerror)
        words = packets.extras[packets.extra[index] - 1]["words"]
        assert (texts[words[0]], texts[words[1]], words[2]) == (quoted.src, quoted.dst, 17)
        assert (words[3], words[4], words[7]) == (transport.sport, transport.dport, 1)


@NEVER_CRASH
@given(
    st.lists(
        st.tuples(
            segments().map(lambda each: each), st.integers(0, 90), st.binary(max_size=12), st.integers(0, 140)
        ),
        max_size=5,
    )
)
def test_damaged_packets_never_crash(tmp_path, damaged):
    frames = []
    for each, place, garbage, cut in damaged:
        with contextlib.suppress(Exception):
            data = bytearray(bytes(each))
            data[place : place + len(garbage)] = garbage
            frames.append(bytes(data[:cut]))
    packets, texts = parsed(tmp_path, *frames)
    assert len(packets) == len(frames)
    assert not (packets.has_tcp & ~packets.are(IP)).any()
    assert all(code < max(len(texts), 1) for code in np.concatenate([packets.src, packets.dst]))


def test_a_chunk_without_packets(tmp_path):
    packets, _ = parsed(tmp_path)
    assert len(packets) == 0


def test_a_syn_is_a_syn(tmp_path):
    packets, _ = parsed(tmp_path, frame(ipv4(tcp(1, 2, 3, 0, SYN), "10.0.0.0", "10.0.0.1", 6)))
    assert packets.tcp_flags.tolist() == [SYN]
