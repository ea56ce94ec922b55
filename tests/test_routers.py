"""Layers 2 and 3 behave as on real switches and routers: in captures and in what hosts are told."""

import ipaddress
import socket
import struct

import pytest
from wiring import Wiring, found

from testbed.job import OUT, Shape
from testbed.measure import tables
from testbed.measure.pcap import Pcap
from testbed.measure.points import file_of, points
from testbed.venues.guest import Guest

pytestmark = pytest.mark.guest

MS = 1_000_000
NARROW = 1400
ANNOUNCED = 200_000
STATION = "020000aaaa01"  # a MAC that no interface has
ICMP, ICMP6 = 1, 58
ARP, IPV4, IPV6, VLAN_TAG = 0x0806, 0x0800, 0x86DD, 0x8100
# Types of ICMP and ICMPv6 (RFC 792, RFC 4443), and codes of "unreachable"
EXCEEDED, UNREACHABLE = {4: 11, 6: 3}, {4: 3, 6: 1}
NO_ROUTE, NO_PORT = {4: 0, 6: 0}, {4: 3, 6: 4}

# A ring, so that there and back differ: probes go h1 - r1 - r2 - r3 - h2 and answers h2 - r3 - r4 - r1 - h1.
RING = ("h1--r1", "r1--r2", "r2--r3", "r3--h2", "r3--r4", "r4--r1")


def ring(wiring):
    """Four routers in a ring with a host at each side; two of the links carry packets of 1,400 bytes."""
    for name in ("h1", "h2"):
        wiring.node(name)
    for name in ("r1", "r2", "r3", "r4"):
        wiring.node(name, role="router", forwards=True)
    for number, link in enumerate(RING, start=1):
        a, b = link.split("--")
        ends = [(f"10.0.{number}.{side}/31", f"fd00:0:0:{number}::{side}/127") for side in (0, 1)]
        wiring.wire(a, b, ends, mtu=NARROW if link in ("r2--r3", "r4--r1") else 1500)
    nets = {link: (f"10.0.{n}.", f"fd00:0:0:{n}::") for n, link in enumerate(RING, start=1)}

    def way(node, destination, by, side):
        """Node's route to a link's subnet, or to everywhere, by one side of another link."""
        for index, all_of in enumerate(("0.0.0.0/0", "::/0")):
            subnet = f"{nets[destination][index]}0/{(31, 127)[index]}" if destination else all_of
            wiring.node(node, routes=[(subnet, f"{nets[by][index]}{side}")])

    way("h1", "", "h1--r1", 1)
    way("h2", "", "r3--h2", 0)
    way("r1", "r3--h2", "r1--r2", 1)
    way("r1", "r2--r3", "r1--r2", 1)
    way("r1", "r3--r4", "r4--r1", 0)
    way("r2", "r3--h2", "r2--r3", 1)
    way("r2", "h1--r1", "r1--r2", 0)
    way("r2", "r4--r1", "r1--r2", 0)
    way("r3", "h1--r1", "r3--r4", 1)
    way("r3", "r1--r2", "r2--r3", 0)
    way("r4", "h1--r1", "r4--r1", 1)
    way("r4", "r3--h2", "r3--r4", 0)


def lan(wiring, switch, hosts, net, vlans=()):
    """Hosts on one switch, all in one subnet."""
    wiring.node(switch, role="switch", bridge=True)
    for number, host in enumerate(hosts, start=1):
        wiring.node(host)
        ends = [(f"10.1.{net}.{number}/24", f"fd01:0:0:{net}::{number}/64"), ()]
        wiring.wire(host, switch, ends, vlan=vlans[number - 1] if vlans else 0)


def address(wiring, node, link, version):
    """A node's address on a link."""
    (found,) = (i for i in wiring.nodes[node]["interfaces"] if i.link == link)
    return str(ipaddress.ip_interface(found.address if version == 4 else found.address6).ip)


@pytest.fixture(scope="module")
def wiring():
    made = Wiring(shape=Shape(delay_ns=1 * MS))
    ring(made)
    lan(made, "s1", ("a1", "a2", "a3"), 1)
    lan(made, "s2", ("b1", "b2", "b3", "b4"), 2, vlans=(10, 10, 20, 20))
    return made


@pytest.fixture(scope="module")
def ran(wiring, tmp_path_factory):
    """The run folder; what the probes found is there as `NODE.PROBE.json`."""
    run = tmp_path_factory.mktemp("routers")

    def ask(node, call, **config):
        wiring.service(node, call, call, result=f"{OUT}/{node}.{call}.json", **config)

    far = [address(wiring, "h2", "r3--h2", version) for version in (4, 6)]
    near = [address(wiring, "h1", "h1--r1", version) for version in (4, 6)]
    for host in ("h1", "h2"):
        wiring.service(host, "serve", "serve")
    ask("h1", "ping", targets=far)
    ask("h1", "trace", targets=[*far, "192.0.2.1", "2001:db8::1"], most=8)
    ask("h1", "discover", targets=far)
    ask("h2", "upload", targets=near, size=ANNOUNCED)
    wiring.service("a2", "station", "station", interface="eth0", mac=STATION)
    ask("a1", "call", interface="eth0", to=STATION)
    for asking, others in (("b1", (2, 3, 4)), ("b4", (1, 2, 3))):
        ask(asking, "ping", targets=[at for n in others for at in (f"10.1.2.{n}", f"fd01:0:0:2::{n}")])
    job = wiring.job()
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    tables.write(run)
    return run


def frames(run, wiring, link):
    """The frames of a link in the order they were seen: (to, from, EtherType, the start of the rest)."""
    for records in recorded(run, wiring, link):
        for offset, length in zip(records.offsets.tolist(), records.captured.tolist(), strict=True):
            whole = records.buffer[offset : offset + length].tobytes()
            yield whole[:6], whole[6:12], int.from_bytes(whole[12:14]), whole[14:]


def recorded(run, wiring, link):
    (point,) = (each for each in points(wiring.job()) if each.link == link)
    return Pcap(file_of(run, point))


def test_neighbours_are_found_by_arp_and_neighbour_discovery(ran, wiring):
    """A request to all, an answer to one, both with the addresses of the link (RFC 826, RFC 4861)."""
    asker, asked = (bytes.fromhex(wiring.mac(node).replace(":", "")) for node in ("h1", "r1"))
    four, six = (address(wiring, "r1", "h1--r1", version) for version in (4, 6))
    seen = list(frames(ran, wiring, "h1--r1"))
    arps = [(to, rest) for to, _, kind, rest in seen if kind == ARP]
    (first, request), (second, reply) = arps[:2]
    assert first == b"\xff" * 6
    assert struct.unpack_from("!H", request, 6) == (1,)
    assert request[8:14] == asker
    assert request[24:28] == socket.inet_aton(four)
    assert second == asker
    assert struct.unpack_from("!H", reply, 6) == (2,)
    assert reply[8:18] == asked + socket.inet_aton(four)

    wanted = socket.inet_pton(socket.AF_INET6, six)
    sought = [
        (to, rest[40], rest[64 + 8 : 64 + 14]) for to, _, kind, rest in seen
        if kind == IPV6 and rest[6] == ICMP6 and rest[40] in (135, 136) and rest[48:64] == wanted
    ]  # fmt: skip
    assert sought[0][:2] == (b"\x33\x33\xff" + wanted[13:], 135)  # to the solicited-node multicast address
    assert sought[1][:2] == (asker, 136)


@pytest.mark.parametrize("version", [4, 6])
def test_ping_takes_the_delay_of_both_ways(ran, wiring, version):
    """Four links there and four back, each of a millisecond, after the neighbours were looked up."""
    target = address(wiring, "h2", "r3--h2", version)
    took_ns = found(ran, "h1.ping")[target]
    links, lookups = 8, 2 * 8  # at most a question and an answer a link
    assert links * MS <= took_ns <= (links + lookups) * MS


@pytest.mark.parametrize("version", [4, 6])
def test_a_hop_answers_with_the_address_it_was_reached_at(ran, wiring, version):
    """R3's way back is by another interface than the probe came in on; its answer names the latter."""
    target = address(wiring, "h2", "r3--h2", version)
    hops = found(ran, "h1.trace")[target]
    reached = [("r1", "h1--r1"), ("r2", "r1--r2"), ("r3", "r2--r3")]
    exceeded = [[address(wiring, *where, version), EXCEEDED[version], 0] for where in reached]
    assert hops == [*exceeded, [target, UNREACHABLE[version], NO_PORT[version]]]


@pytest.mark.parametrize(("version", "target"), [(4, "192.0.2.1"), (6, "2001:db8::1")])
def test_a_router_without_a_route_says_so(ran, wiring, version, target):
    router = address(wiring, "r1", "h1--r1", version)
    assert found(ran, "h1.trace")[target] == [[router, UNREACHABLE[version], NO_ROUTE[version]]]


@pytest.mark.parametrize("version", [4, 6])
def test_a_sender_of_datagrams_learns_the_mtu_of_the_path(ran, wiring, version):
    """RFC 1191 and RFC 8201: the router before the narrow link drops what is too long and says what fits."""
    target = address(wiring, "h2", "r3--h2", version)
    said = found(ran, "h1.discover")[target]
    assert said.pop("fragmented", 1472) == 1472  # which in IPv6 routers do not do (RFC 8200, section 5)
    assert said == {"mtu": NARROW, "refused": True, "echoed": NARROW - (28, 48)[version == 6]}
    # type 3 code 4, and type 2
    told = [
        rest for _, _, kind, rest in frames(ran, wiring, "h1--r1")
        if (version == 4 and kind == IPV4 and rest[9] == ICMP and rest[20:22] == b"\x03\x04")
        or (version == 6 and kind == IPV6 and rest[6] == ICMP6 and rest[40] == 2)
    ]  # fmt: skip
    assert len(told) == 1
    says_so = address(wiring, "r2", "r1--r2", version)
    source, mtu = (told[0][12:16], told[0][26:28]) if version == 4 else (told[0][8:24], told[0][44:48])
    assert str(ipaddress.ip_address(source)) == says_so
    assert int.from_bytes(mtu) == NARROW


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_learns_the_mtu_of_the_path(ran, wiring, version):
    target = address(wiring, "h1", "h1--r1", version)
    assert found(ran, "h2.upload")[target] == {"mtu": NARROW, "taken": ANNOUNCED}


def test_no_frame_is_longer_than_its_link_takes(ran, wiring):
    for link, mtu in (("r2--r3", NARROW), ("r4--r1", NARROW), ("r1--r2", 1500)):
        longest = max(int(records.wire.max()) for records in recorded(ran, wiring, link)) - 14
        assert mtu - 8 <= longest <= mtu  # a fragment's length is a multiple of 8


def test_a_switch_floods_until_it_has_learned(ran, wiring):
    """The first frame to a station leaves by every port, the second, after an answer, by the right one."""
    assert found(ran, "a1.call") == 2
    station = bytes.fromhex(STATION)
    caller = bytes.fromhex(wiring.mac("a1").replace(":", ""))
    count = {
        link: (
            sum(to == station for to, *_ in frames(ran, wiring, link)),
            sum((to, source) == (caller, station) for to, source, *_ in frames(ran, wiring, link)),
        )
        for link in ("a1--s1", "a2--s1", "a3--s1")
    }
    assert count == {"a1--s1": (2, 2), "a2--s1": (2, 2), "a3--s1": (1, 0)}


def test_vlans_are_lans_of_their_own(ran, wiring):
    for asking, alike in (("b1", 2), ("b4", 3)):
        answered = {target for target, took in found(ran, f"{asking}.ping").items() if took is not None}
        assert answered == {f"10.1.2.{alike}", f"fd01:0:0:2::{alike}"}
    # nothing of one VLAN, broadcasts included, is seen in the other, nor any tag on an access port
    members = {"b1": 10, "b2": 10, "b3": 20, "b4": 20}
    macs = {bytes.fromhex(wiring.mac(name).replace(":", "")): vlan for name, vlan in members.items()}
    for name, vlan in members.items():
        seen = [(source, kind) for _, source, kind, _ in frames(ran, wiring, f"{name}--s2")]
        assert {macs[source] for source, _ in seen if source in macs} == {vlan}
        assert VLAN_TAG not in {kind for _, kind in seen}
        assert len(seen) > 2
