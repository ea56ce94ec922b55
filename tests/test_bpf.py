"""Programs for the packet filter, run by libpcap's own interpreter over packets made by scapy."""

import ctypes

import pytest

from testbed import bpf
from testbed.model.captures import Snap

scapy = pytest.importorskip("scapy.all")

V4, V6 = scapy.IP(src="10.0.0.1", dst="10.0.0.2"), scapy.IPv6(src="2001:db8::1", dst="2001:db8::2")
WEB, NAMES = scapy.TCP(sport=40000, dport=443), scapy.UDP(sport=40000, dport=53)


def kept(program, *layers, size=1000):
    """How many bytes a program keeps of a frame."""
    frame = bytes(scapy.Ether() / layers[0] / (layers[1] if len(layers) > 1 else b""))
    frame += bytes(max(0, size - len(frame)))
    run = bpf._libpcap().bpf_filter
    run.restype = ctypes.c_uint
    return min(len(frame), run(program, frame, len(frame), len(frame)))


@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_headers_are_what_is_kept_where_nothing_else_is_said(ip):
    assert Snap.read("headers").program("") == bpf.assemble()
    assert kept(bpf.assemble(), ip, WEB) == bpf.SNAP_BYTES
    assert kept(bpf.assemble(), ip, NAMES) == 1000


@pytest.mark.parametrize(
    ("snap", "web", "names", "arp"),
    [
        ("whole", 1000, 1000, 1000),
        ("96B", 96, 96, 96),
        ({"tcp port 443": "whole"}, 1000, 1000, 1000),
        ({"tcp port 443": "whole", "rest": "64B"}, 1000, 64, 64),
        ({"udp": "80B", "tcp port 443": "100B", "tcp": "whole", "rest": "whole"}, 100, 80, 1000),
        ({"tcp port 80": "whole"}, bpf.SNAP_BYTES, 1000, 1000),
    ],
)
def test_a_packet_is_cut_as_the_first_class_that_takes_it_says(snap, web, names, arp):
    program = Snap.read(snap).program("")
    for ip in (V4, V6):
        assert (kept(program, ip, WEB), kept(program, ip, NAMES)) == (web, names)
    assert kept(program, scapy.ARP()) == arp


def test_a_filter_comes_before_the_classes():
    program = Snap.read({"tcp port 443": "whole"}).program("ip and (tcp or icmp)")
    assert kept(program, V4, WEB) == 1000
    assert kept(program, V4, scapy.TCP(sport=40000, dport=80)) == bpf.SNAP_BYTES
    assert kept(program, V4, scapy.ICMP()) == 1000
    assert kept(program, V4, NAMES) == kept(program, V6, WEB) == kept(program, scapy.ARP()) == 0


def test_branches_reach_over_programs_longer_than_a_jump():
    many = " or ".join(f"tcp port {port}" for port in range(1000, 1100))
    assert len(bpf.compiled(many)) // 8 > 255
    program = Snap.read({many: "64B", "tcp": "96B"}).program(f"not (udp and ({many.replace('tcp ', '')}))")
    assert kept(program, V4, scapy.TCP(sport=1050, dport=9)) == 64
    assert kept(program, V4, WEB) == 96
    assert kept(program, V4, scapy.UDP(sport=1050, dport=9)) == 0
    assert kept(program, scapy.ARP()) == 1000


def test_nothing_is_kept_where_the_window_is_closed():
    assert kept(bpf.returning(0), V4, WEB) == 0


@pytest.mark.parametrize("wrong", ["tcp prot 443", "udp and tcp", "port 99999"])
def test_what_is_no_expression_is_refused_in_the_words_of_libpcap(wrong):
    with pytest.raises(bpf.FilterError, match=r"\w+"):
        bpf.compiled(wrong)
