"""The capture's filter, run by a small interpreter of classic BPF over packets made by scapy."""

import struct

import pytest

from testbed.bpf import SNAP_BYTES, assemble

scapy = pytest.importorskip("scapy.all")


def kept(frame):
    """How many bytes the filter keeps of a frame."""
    steps = list(struct.iter_unpack("=HBBI", assemble()))
    data, a, x, at = bytes(frame), 0, 0, 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        match code:
            case 0x28 | 0x48:
                start = k + (x if code == 0x48 else 0)
                if start + 2 > len(data):
                    return 0
                (a,) = struct.unpack_from("!H", data, start)
            case 0x30:
                a = data[k]
            case 0xB1:
                x = 4 * (data[k] & 15)
            case 0x15:
                at += yes if a == k else no
            case 0x45:
                at += yes if a & k else no
            case 0x06:
                return min(k, len(data))
            case _:
                raise AssertionError(f"unknown code {code:#x}")


def frame(*layers, size=1000):
    whole = scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for layer in layers:
        whole /= layer
    raw = bytes(whole)
    return raw + bytes(max(0, size - len(raw)))


V4, V6 = scapy.IP(src="10.0.0.1", dst="10.0.0.2"), scapy.IPv6(src="2001:db8::1", dst="2001:db8::2")
OPTIONS = scapy.IP(src="10.0.0.1", dst="10.0.0.2", options=[scapy.IPOption_RR(length=11)])


@pytest.mark.parametrize("ip", [V4, V6, OPTIONS], ids=["v4", "v6", "v4-options"])
@pytest.mark.parametrize(
    ("transport", "whole"),
    [
        (scapy.TCP(sport=40000, dport=443), False),
        (scapy.TCP(sport=443, dport=40000), False),
        (scapy.TCP(sport=40000, dport=179), True),
        (scapy.TCP(sport=179, dport=40000), True),
        (scapy.UDP(sport=53, dport=40000), True),
        (scapy.UDP(sport=40000, dport=53), True),
        (scapy.UDP(sport=40000, dport=9000), False),
    ],
)
def test_bgp_and_dns_are_kept_whole_and_the_rest_is_cut(ip, transport, whole):
    assert kept(frame(ip, transport)) == (1000 if whole else SNAP_BYTES)


def test_arp_and_icmp_are_kept_whole():
    assert kept(frame(scapy.ARP(), size=60)) == 60
    assert kept(frame(V4, scapy.ICMP())) == 1000
    assert kept(frame(V6, scapy.ICMPv6EchoRequest())) == 1000


def test_a_later_fragment_has_no_ports_to_look_at():
    fragment = scapy.IP(src="10.0.0.1", dst="10.0.0.2", frag=100, proto=17)
    assert kept(frame(fragment, scapy.Raw(struct.pack("!HH", 53, 53)))) == SNAP_BYTES


def test_other_protocols_are_cut():
    assert kept(frame(scapy.IP(src="10.0.0.1", dst="10.0.0.2", proto=89))) == SNAP_BYTES
    assert kept(frame(scapy.Dot3() / scapy.LLC())) == SNAP_BYTES


def test_all_headers_fit_in_what_is_kept():
    assert SNAP_BYTES >= 14 + 4 + 40 + 60
