"""What the roles write: BIRD's configuration by family, neighbour and LAN, and the servers' addresses."""

import dataclasses
import shutil
import subprocess
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from testbed.job import Interface, Node, Shape
from testbed.kernel.boot import PROGRAMS_PATH
from testbed.plan.blueprint import Neighbor
from testbed.plan.pki import Authority as Certificates
from testbed.roles.authority import Authority
from testbed.roles.oca import Oca
from testbed.roles.origin import Origin
from testbed.roles.resolver import Resolver
from testbed.roles.route_server import RouteServer
from testbed.roles.router import Router

BIRD = shutil.which("bird", path=PROGRAMS_PATH)
MS = 1_000_000


def interface(number, peer, net, *, host=0, delay_ns=0):
    return Interface(
        name=f"eth{number}", link=f"link{number}", mac="", peer=peer, address=f"10.1.{net}.{host}/31",
        address6=f"2001:db8:1:{net}::{host}/127", shape=Shape(delay_ns=delay_ns),
    )  # fmt: skip


def neighbors(node, asn, net, relation):
    """The sessions with one neighbour, one a family."""
    return [
        Neighbor(node=node, asn=asn, address=there, local_address=here, relation=relation, family=family)
        for family, here, there in (
            (4, f"10.1.{net}.0", f"10.1.{net}.1"), (6, f"2001:db8:1:{net}::", f"2001:db8:1:{net}::1"),
        )
    ]  # fmt: skip


CORE = Node(
    name="north.core", role="router", asn=64501, isp="north", forwards=True,
    address="10.1.48.1", address6="2001:db8:1::30:1", loopbacks=("10.1.48.1/32", "2001:db8:1::30:1/128"),
    interfaces=(
        interface(0, "north.edge", 0, delay_ns=2 * MS), interface(1, "transit.a", 1), interface(2, "ix", 2),
        interface(3, "oca-n1", 3), interface(4, "lan", 4), interface(5, "office", 5),
    ),
)  # fmt: skip
OCA = Node(name="oca-n1", role="oca", asn=64601, isp="north", address="10.1.3.1", address6="2001:db8:1:3::1",
           interfaces=(interface(0, "north.core", 3, host=1),))  # fmt: skip
SERVERS = [
    Node(name=name, role=name.rpartition(".")[2], address=f"10.9.0.{n}", address6=f"2001:db8:9::{n}")
    for n, name in enumerate(("steering", "origin", "authority", "north.resolver"), start=1)
]


def only(node, family):
    """A node with one of its two families."""
    dropped = "address6" if family == 4 else "address"
    return dataclasses.replace(
        node,
        loopbacks=tuple(each for each in node.loopbacks if (":" in each) == (family == 6)),
        interfaces=tuple(dataclasses.replace(each, **{dropped: ""}) for each in node.interfaces),
        **{dropped: ""},
    )


@pytest.fixture
def plan():
    """A router with a neighbour of every kind, and two LANs: a brother of it is on one of them."""
    nodes = [
        CORE, OCA, *SERVERS,
        Node(name="north.edge", role="router"), Node(name="transit.a", role="router"),
        Node(name="ix", role="exchange", bridge=True),
        Node(name="lan", role="switch", bridge=True), Node(name="office", role="switch", bridge=True),
    ]  # fmt: skip
    infrastructure = [ip_network("10.1.0.0/18"), ip_network("2001:db8:1::/48")]
    office = [ip_network("10.1.5.0/31"), ip_network("2001:db8:1:5::/127")]
    network = SimpleNamespace(
        routers=["north.core", "north.edge"], originates={"north.core": infrastructure}, connects=office,
        resolver="north.resolver",
    )  # fmt: skip
    return SimpleNamespace(
        nodes={node.name: node for node in nodes},
        lan_of={
            "link4": SimpleNamespace(nodes=dict.fromkeys(("north.core", "north.edge", "pc1"))),
            "link5": SimpleNamespace(nodes=dict.fromkeys(("north.core", "pc2"))),
        },
        network_of=lambda name: network,
        by_role=lambda role: (node for node in nodes if node.role == role),
        neighbors={
            "north.core": [
                session
                for net, (name, asn, relation) in enumerate(
                    [
                        ("transit.a", 64510, "provider"), ("ix.rs", 64520, "route-server"),
                        ("south.core", 64502, "peer"), ("oca-n1", 64601, "oca"),
                        ("west.core", 64503, "customer"), ("north.edge", 64501, "internal"),
                    ]
                )
                for session in neighbors(name, asn, net, relation)
            ],
            "oca-n1": neighbors("north.core", 64501, 3, "server"),
            "ix.rs": neighbors("north.core", 64501, 2, "member"),
        },
        cdn=SimpleNamespace(zone="cdn.example", report=5, stale=15),
        titles=(),
        authority=Certificates(1, 0),
    )  # fmt: skip


def bird(role, node, plan):
    (text,) = (text for path, text in role().equip(node, plan).files.items() if path.endswith("bird.conf"))
    return text


def block(text, start):
    """The lines of a configuration from the one that starts so to the brace that closes it."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(start))
    return [line.strip() for line in lines[at + 1 : lines.index("}", at)]]


def test_a_family_has_protocols_of_its_own(plan):
    text = bird(Router, CORE, plan)
    assert "protocol direct { ipv4; ipv6; }" in text
    assert text.count("protocol kernel {") == 2
    assert block(text, "protocol static originated4") == ["ipv4;", "route 10.1.0.0/18 blackhole;"]
    assert block(text, "protocol static originated6") == ["ipv6;", "route 2001:db8:1::/48 blackhole;"]


def test_a_lan_is_announced_though_it_is_connected(plan):
    """Its route is the interface's, or OSPF's at the AS's other routers, and never the static one."""
    text = bird(Router, CORE, plan)
    for audience in ("others", "customer", "oca"):
        condition = block(text, f"filter to_{audience} ")[0]
        assert "(net.type = NET_IP4 && source ~ [RTS_DEVICE, RTS_OSPF] && net ~ [10.1.5.0/31])" in condition
        assert "net ~ [2001:db8:1:5::/127]" in condition
    assert "10.1.5.0" not in "".join(block(text, "protocol static originated4"))


def test_a_session_carries_the_routes_of_its_family(plan):
    text = bird(Router, CORE, plan)
    assert block(text, "protocol bgp bgp1 ") == [
        "local 10.1.0.0 as 64501;", "neighbor 10.1.0.1 as 64510;",
        "ipv4 { import filter from_provider; export filter to_others; };",
    ]  # fmt: skip
    assert block(text, "protocol bgp bgp2 ") == [
        "local 2001:db8:1:0:: as 64501;", "neighbor 2001:db8:1:0::1 as 64510;",
        "ipv6 { import filter from_provider; export filter to_others; };",
    ]  # fmt: skip
    names = [line.split()[2] for line in text.splitlines() if line.startswith("protocol bgp")]
    assert len(set(names)) == len(names) == 12


@pytest.mark.parametrize("version", [4, 6])
def test_ospf_is_among_brothers_and_the_rest_is_a_stub(plan, version):
    """A direct link elects nobody; nothing is said to the provider or at the exchange."""
    lines = block(bird(Router, CORE, plan), f"protocol ospf v{version // 2} ")
    assert [line for line in lines if line.startswith("interface")] == [
        'interface "eth0" { type ptp; cost 20; };',
        'interface "eth1" { stub yes; cost 1; };',
        'interface "eth2" { stub yes; cost 1; };',
        'interface "eth3" { stub yes; cost 1; };',
        'interface "eth4" { type broadcast; cost 1; };',
        'interface "eth5" { stub yes; cost 1; };',
        *(['interface "lo" { stub yes; };'] if version == 4 else []),
    ]
    assert [line for line in lines if line.startswith("stubnet")] == (
        ["stubnet 2001:db8:1::30:1/128 { cost 0; };"] if version == 6 else []
    )


@pytest.mark.parametrize("version", [4, 6])
def test_a_family_that_is_not_there_is_not_written(plan, version):
    del plan.neighbors["north.core"][version == 4 :: 2]
    network = plan.network_of("north.core")
    for prefixes in (network.originates["north.core"], network.connects):
        del prefixes[version == 4]
    text = bird(Router, only(CORE, version), plan)
    assert f"ipv{10 - version}" not in text
    assert (":" in "".join(line for line in text.splitlines() if " as " in line)) == (version == 6)
    assert text.count("protocol bgp") == 6


def test_an_oca_hears_of_both_families_and_keeps_it_to_itself(plan):
    text = bird(Oca, OCA, plan)
    for version in (4, 6):
        assert block(text, f"protocol bgp uplink{version} ")[2:] == [
            f"ipv{version} {{ import all; export none; }};"
        ]


def test_a_route_server_has_a_client_a_family(plan):
    text = bird(RouteServer, Node(name="ix.rs", role="route-server", asn=64520, address="10.9.9.9"), plan)
    for version in (4, 6):
        assert block(text, f"protocol bgp bgp{version // 2 - 1} ")[2:] == [
            "rs client;", f"ipv{version} {{ import all; export where source = RTS_BGP; }};",
        ]  # fmt: skip


@pytest.mark.parametrize("drop", [0, 4, 6])
@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_bird_accepts_what_is_written(plan, tmp_path, drop):
    router, oca = (only(node, 10 - drop) if drop else node for node in (CORE, OCA))
    for name, configuration in (
        ("router", bird(Router, router, plan)), ("oca", bird(Oca, oca, plan)),
        ("route-server", bird(RouteServer, dataclasses.replace(oca, name="ix.rs"), plan)),
    ):  # fmt: skip
        (tmp_path / "bird.conf").write_text(configuration)
        done = subprocess.run(
            [BIRD, "-p", "-c", tmp_path / "bird.conf"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_servers_listen_on_the_families_they_have(plan):
    origin, authority, resolver = SERVERS[1:]
    for node, listened in ((origin, (4, 6)), (only(origin, 4), (4,)), (only(origin, 6), (6,))):
        text = next(iter(Origin().equip(node, plan).files.values()))
        assert ("listen 10.9.0.2:443 ssl;" in text, "listen [2001:db8:9::2]:443 ssl;" in text) == (
            4 in listened, 6 in listened,
        )  # fmt: skip
    (text, zone) = Authority().equip(authority, plan).files.values()
    assert [line.strip() for line in text.splitlines() if "ip-address" in line] == [
        "ip-address: 10.9.0.3", "ip-address: 2001:db8:9::3",
    ]  # fmt: skip
    # the control plane listens on IPv4, and so that is all that its name says
    assert [line for line in zone.splitlines() if " A " in line or " AAAA " in line] == [
        "authority IN A 10.9.0.3", "authority IN AAAA 2001:db8:9::3", "steering IN A 10.9.0.1",
        "origin IN A 10.9.0.2", "origin IN AAAA 2001:db8:9::2", "oca-n1 IN A 10.1.3.1",
        "oca-n1 IN AAAA 2001:db8:1:3::1",
    ]  # fmt: skip
    (text,) = Resolver().equip(resolver, plan).files.values()
    assert [line.strip() for line in text.splitlines() if "interface:" in line] == [
        "interface: 10.9.0.4", "interface: 2001:db8:9::4",
    ]  # fmt: skip
    assert "do-ip6: yes" in text
    (text,) = Resolver().equip(only(resolver, 4), plan).files.values()
    assert "do-ip6: no" in text
