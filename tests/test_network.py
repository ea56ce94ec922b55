"""The network as the guest kernel has it: both families, switches, and what changes leave behind."""

import inside_network
import pytest

from testbed.emulate import network, rtnetlink
from testbed.emulate.netlink import attribute, nested
from testbed.testing import booted


def test_attributes_are_padded_and_say_their_length_without_it():
    assert attribute(3, b"eth0\0") == b"\x09\x00\x03\x00eth0\0\0\0\0"
    assert nested(18, attribute(1, b"ab")) == b"\x0c\x00\x12\x80" + b"\x06\x00\x01\x00ab\0\0"


def test_a_request_says_what_it_is_for():
    assert "10.0.0.1/31" in rtnetlink.address(3, "10.0.0.1/31").meaning
    assert "h1--r" in rtnetlink.pair(*inside_network.job().nodes[1].interfaces, (3, 4), (5, 6)).meaning


def test_what_the_kernel_lacks_is_refused_by_name_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(network.shaping, "lacking", lambda shapes: ["cake"] if list(shapes) else [])
    net = network.Network(inside_network.job(), tmp_path, tmp_path)
    with pytest.raises(network.NetworkError, match=r"lacks .*: cake"):
        net.build()
    with pytest.raises(KeyError):
        net.namespace("h1")


@pytest.fixture(scope="module")
def said():
    """Everything that tests/inside_network.py tells, in one."""
    merged = {}
    for message in booted(inside_network.job(), "inside_network", 256 * 2**20):
        merged |= message
    return merged


@pytest.mark.guest
class TestBuilt:
    def test_both_families_reach_from_the_first_packet_on(self, said):
        assert said["reach"] == {
            "first, at once": True,
            "IPv4": True,
            "loopback": True,
            "loopback of IPv6": True,
            "another VLAN": False,
        }

    def test_link_local_addresses_follow_from_the_macs_and_only_where_there_is_ipv6(self, said):
        assert "fe80::ff:fe00:1/64" in said["addresses"]["h1"]
        assert said["addresses"]["h3"] == ""
        assert said["addresses"]["sw"] == ""

    def test_no_host_solicits_routers_or_probes_its_own_address(self, said):
        counted = dict(line.split() for line in said["counters"].splitlines())
        assert counted["Icmp6OutRouterSolicits"] == "0"
        assert int(counted["Icmp6OutMLDv2Reports"]) > 0  # the file has the names that are asked for

    def test_settings_are_those_of_routers_and_hosts(self, said):
        assert said["settings"] == {
            "ipv4/ip_forward": "1",
            "ipv6/conf/eth1/forwarding": "1",
            "ipv6/conf/eth1/accept_ra": "0",
            "ipv6/conf/eth1/accept_dad": "0",
            "ipv4/conf/eth1/rp_filter": "0",
            "ipv4/conf/eth1/arp_ignore": "1",
        }
        assert said["host_forwards"].split() == ["0", "0"]
        assert said["inherits"] == "0"  # as it was before

    def test_ports_are_in_their_vlans_untagged(self, said):
        rows = [line.split() for line in said["vlans"].splitlines()[1:] if line.strip()]
        assert [row for row in rows if row[0] in ("eth0", "eth1", "eth2")] == [
            ["eth0", "10", "PVID", "Egress", "Untagged"],
            ["eth1", "10", "PVID", "Egress", "Untagged"],
            ["eth2", "1", "PVID", "Egress", "Untagged"],
        ]

    def test_a_smaller_mtu_is_told_to_senders(self, said):
        assert "mtu 1400" in said["mtu"]
        assert "Frag needed and DF set (mtu = 1400)" in said["too_big"] or "mtu=1400" in said["too_big"]
        assert "mtu=1400" in said["too_big6"] or "mtu = 1400" in said["too_big6"]

    def test_frames_are_those_of_a_wire(self, said):
        features = dict(line.strip().split(": ") for line in said["offload"].splitlines()[1:])
        assert features["tx-checksumming"] == "off"


@pytest.mark.guest
class TestChanged:
    def test_a_link_down_takes_what_the_kernel_forgets_and_up_brings_it_back(self, said):
        assert ["eth0", 0] in said["down"]["interfaces"]
        assert said["down"]["routes"] == []
        assert not said["down_reach"]
        assert said["restored"] == []
        assert said["after"] == {"IPv4": True, "IPv6": True}
        assert said["up"]["routes"] == ["default/0 via 10.0.0.1", "default/0 via 2001:db8::1"]
        assert "2001:db8::/127" in [address for _, address in said["up"]["addresses"]]

    def test_the_first_of_two_to_end_leaves_the_link_down(self, said):
        assert not said["inner_end_brings_up"]

    def test_a_shape_is_changed_and_restored(self, said):
        assert "rtt min/avg/max/mdev = 100.0" in said["slow"]
        assert said["shape_restored"] == []

    def test_nodes_and_links_go_and_come_while_the_rest_runs(self, said):
        assert "eth2" not in said["without_h3"]
        assert "eth1" in said["without_h3"]
        assert said["rest_runs"]
        assert not said["again"]  # another VLAN
        assert "10.0.1.3/24" in said["back"]

    def test_what_the_kernel_refuses_is_said_and_the_rest_is_done(self, said):
        assert "10.7.0.0/16 via 10.66.66.66" in said["refused"]
        assert "nreachable" in said["refused"]
        assert said["later_done"]


@pytest.mark.guest
def test_a_ring_of_switches_becomes_a_tree(said):
    assert not said["early"]
    assert said["late"]
    assert 30 <= said["tree_s"] < 40  # listening and learning, 15 s each
    states = [line.partition(" state ")[2].split()[0] for line in said["states"]]
    assert states.count("blocking") == 1
    assert states.count("forwarding") == len(states) - 1


@pytest.mark.guest
def test_a_trace_begins_when_it_is_told_and_comes_back_in_step(said):
    wire_ns = 5_000_000 + 98 * 8 * 10  # the way back: 5 ms, and an echo reply at 100 Mbit/s
    for came in (*said["trace_ns"], said["trace_again_ns"]):
        assert came - 250_000_000 == pytest.approx(wire_ns, abs=20_000)
    assert said["without_trace_s"] < 0.1


@pytest.mark.guest
def test_a_kernel_that_has_understood_otherwise_is_not_built_on(said):
    assert "eth0 of h1--r" in said["otherwise"]
    assert "rate" in said["otherwise"]
