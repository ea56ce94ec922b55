"""What the roles make of a node: its routing by family, neighbour and LAN, and the servers' addresses."""

import dataclasses
import json
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from servers import BIRD, bird_refuses

from testbed.daemons.bird import Bird
from testbed.job import Interface, Node, Shape
from testbed.model.rpki import RpkiCache as CacheSpec
from testbed.model.schema import Isp
from testbed.plan.blueprint import Neighbor
from testbed.plan.pki import Authority as Certificates
from testbed.plan.policy import TAG
from testbed.plan.routing import describe
from testbed.roles.authority import Authority
from testbed.roles.oca import Oca
from testbed.roles.origin import Origin
from testbed.roles.resolver import Resolver
from testbed.roles.route_server import RouteServer
from testbed.roles.router import Router
from testbed.roles.rpki_cache import RpkiCache
from testbed.routing import EVERYTHING, NOTHING

MS = 1_000_000


def interface(number, peer, net, *, host=0, delay_ns=0):
    return Interface(
        name=f"eth{number}", link=f"link{number}", mac="", peer=peer, address=f"10.1.{net}.{host}/31",
        address6=f"2001:db8:1:{net}::{host or ''}/127", shape=Shape(delay_ns=delay_ns),
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


CACHE = CacheSpec.model_validate({
    "at": "north.core", "refresh": "60s",
    "roas": [{"prefix": "10.1.0.0/16", "max-length": 24, "asn": 64501}, {"prefix": "10.2.0.0/16", "asn": 0}],
})  # fmt: skip
CACHE_NODE = Node(name="validator", role="rpki-cache", asn=64501, address="10.1.15.255")


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
        cdn=SimpleNamespace(zone="cdn.example", report=5, stale=15, grace=300, ttl=300 * 10**9,
            steering=SimpleNamespace(mode="list"),
        ),
        titles=(), titles_on=lambda oca: (), fill=None, anycast=(), expired=frozenset(),
        homes={"north.core": "north", "west.core": "west"}, costs={"link4": 7},
        cones={"west": [ip_network("10.3.0.0/18"), ip_network("2001:db8:3::/52")]},
        topology=SimpleNamespace(
            networks={"north": Isp(asn=64501, routers=["core", "edge"])}, daemon_of=lambda name: "bird",
            caches_of=lambda network: [], rpki={"validator": CACHE},
            ocas={"oca-n1": SimpleNamespace(congestion="bbr", pacing=6_000_000, max_connections=100)}
        ),
        authority=Certificates(1, 0),
    )  # fmt: skip


def session(routing, neighbor, family):
    (found,) = (each for each in routing.sessions if (each.neighbor, each.family) == (neighbor, family))
    return found


def heard_from(policy):
    """The relations by whose mark a policy lets a route through."""
    names = {tag: relation for relation, tag in TAG.items()}
    return {names[number] for rule in policy.rules for *_, number in rule.communities}


def test_a_family_is_a_families_own(plan):
    routing = describe(CORE, plan)
    assert routing.families == (4, 6)
    assert routing.originates == ("10.1.0.0/18", "2001:db8:1::/48")
    assert routing.connects == ("10.1.5.0/31", "2001:db8:1:5::/127")


@pytest.mark.parametrize("family", [4, 6])
def test_a_session_carries_the_routes_of_its_family_over_its_interface(plan, family):
    routing = describe(CORE, plan)
    found = session(routing, "transit.a", family)
    own = ("10.1.0.0", "10.1.0.1") if family == 4 else ("2001:db8:1:0::", "2001:db8:1:0::1")
    assert (found.local_address, found.address, found.asn, found.interface) == (*own, 64510, "eth0")
    assert len({each.name for each in routing.sessions}) == len(routing.sessions) == 12


def test_policies_follow_from_relations(plan):
    routing = describe(CORE, plan)
    told = {each.neighbor: heard_from(each.sends) for each in routing.sessions}
    assert told == {
        "transit.a": {"customer"}, "ix.rs": {"customer"}, "south.core": {"customer"}, "oca-n1": {"customer"},
        "west.core": {"customer", "peer", "provider"}, "north.edge": set(),
    }  # fmt: skip
    preferred = {each.neighbor: each.takes.change.preference for each in routing.sessions}
    assert preferred["west.core"] > preferred["south.core"] == preferred["ix.rs"] > preferred["transit.a"]
    assert session(routing, "oca-n1", 4).takes == NOTHING
    assert session(routing, "north.edge", 4).takes == EVERYTHING
    # a mark of ours that a neighbour put on is nobody's word
    for each in routing.sessions:
        if each.relation not in ("internal", "oca"):
            assert each.takes.change.remove == ((64501, 1, None),)


@pytest.mark.parametrize("family", [4, 6])
def test_ospf_is_among_brothers_and_the_rest_is_a_stub(plan, family):
    """A direct link elects nobody; nothing is said to the provider or at the exchange."""
    routing = describe(CORE, plan)
    links = [(each.interface, each.kind, each.cost) for each in routing.igp.links if family in each.families]
    assert links == [
        ("eth0", "point-to-point", 20), ("eth1", "stub", 1), ("eth2", "stub", 1), ("eth3", "stub", 1),
        ("eth4", "broadcast", 7), ("eth5", "stub", 1),
    ]  # fmt: skip
    assert routing.igp.loopbacks == ("10.1.48.1/32", "2001:db8:1::30:1/128")


@pytest.mark.parametrize("family", [4, 6])
def test_a_family_that_is_not_there_is_not_spoken(plan, family):
    del plan.neighbors["north.core"][family == 4 :: 2]
    network = plan.network_of("north.core")
    for prefixes in (network.originates["north.core"], network.connects):
        del prefixes[family == 4]
    routing = describe(only(CORE, family), plan)
    assert routing.families == (family,)
    assert {each.family for each in routing.sessions} == {family}
    assert {family for link in routing.igp.links for family in link.families} == {family}
    (text,) = Bird("").files(routing).values()
    assert f"ipv{10 - family}" not in text


def test_an_oca_hears_of_both_families_and_keeps_it_to_itself(plan):
    routing = describe(OCA, plan)
    assert not routing.forwards
    assert [(each.family, each.takes, each.sends) for each in routing.sessions] == [
        (4, EVERYTHING, NOTHING), (6, EVERYTHING, NOTHING),
    ]  # fmt: skip


def test_a_route_server_has_a_client_a_family(plan):
    routing = describe(Node(name="ix.rs", role="route-server", asn=64520, address="10.9.9.9"), plan)
    assert not routing.forwards
    assert [(each.family, each.server_client) for each in routing.sessions] == [(4, True), (6, True)]


@pytest.mark.parametrize("drop", [0, 4, 6])
@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_bird_accepts_what_is_written(plan, tmp_path, drop):
    router, oca = (only(node, 10 - drop) if drop else node for node in (CORE, OCA))
    for role, node in ((Router, router), (Oca, oca), (RouteServer, dataclasses.replace(oca, name="ix.rs"))):
        assert bird_refuses(role().equip(node, plan).files, tmp_path) == ""


def test_an_oca_sends_as_it_is_told(plan):
    equipment = Oca().equip(OCA, plan)
    assert equipment.sysctls == {"tcp_congestion_control": "bbr"}
    assert "limit_conn all 100;" in equipment.files["/run/testbed/nodes/oca-n1/nginx.conf"]
    (nginx,) = (process for process in equipment.processes if process.name == "nginx")
    assert nginx.config["addresses"] == ["10.1.3.1", "2001:db8:1:3::1"]
    assert nginx.config["pacing_bps"] == 6_000_000


def test_servers_listen_on_the_families_they_have(plan):
    origin, authority, resolver = SERVERS[1:]
    for node, listened in ((origin, (4, 6)), (only(origin, 4), (4,)), (only(origin, 6), (6,))):
        text = next(iter(Origin().equip(node, plan).files.values()))
        asked = [f"listen {own}:443 ssl http2;" in text for own in ("10.9.0.2", "[2001:db8:9::2]")]
        assert asked == [4 in listened, 6 in listened]
    (text, zone) = Authority().equip(authority, plan).files.values()
    assert [line.strip() for line in text.splitlines() if "ip-address" in line] == [
        "ip-address: 10.9.0.3", "ip-address: 2001:db8:9::3",
    ]  # fmt: skip
    assert [line for line in zone.splitlines() if " A " in line or " AAAA " in line] == [
        "authority IN A 10.9.0.3", "authority IN AAAA 2001:db8:9::3", "steering IN A 10.9.0.1",
        "steering IN AAAA 2001:db8:9::1",
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


def test_a_cache_tells_its_roas_and_how_long_they_hold(plan):
    (text,) = RpkiCache().equip(CACHE_NODE, plan).files.values()
    assert [(roa["prefix"], roa["maxLength"], roa["asn"]) for roa in json.loads(text)["roas"]] == [
        ("10.1.0.0/16", 24, 64501), ("10.2.0.0/16", 16, 0),
    ]  # fmt: skip
    (process,) = RpkiCache().equip(CACHE_NODE, plan).processes
    told = dict(zip(process.argv, process.argv[1:], strict=False))
    assert (told["-rtr.refresh"], told["-rtr.retry"], told["-rtr.expire"]) == ("60", "600", "7200")
    assert told["-bind"] == ":323"
