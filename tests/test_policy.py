"""What routers are told, carried out: no valley, everybody reaches what they should, words take effect."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import yaml
from bgp_model import Roa, converged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.model import rules
from testbed.model.reach import closure
from testbed.model.schema import Topology
from testbed.plan.drawing import draw
from testbed.plan.pki import Authority
from testbed.plan.routing import describe

SPEAKERS = ("router", "route-server", "oca")


def described(data):
    """The descriptions of all routers of a topology, by name."""
    topology = Topology.model_validate(data)
    assert [breach.what for breach in rules.breaches(topology)] == []
    plan = draw(topology, (), Authority(1, 0))
    return {node.name: describe(node, plan) for node in plan.nodes.values() if node.role in SPEAKERS}


def tables(data):
    return converged(described(data).values())


@st.composite
def graphs(draw_):
    """Networks of one to three routers; later ones may be customers of earlier ones."""
    names = [f"n{number}" for number in range(draw_(st.integers(2, 7)))]
    isps = {
        name: {"asn": 64500 + number, "routers": [*"abc"[: draw_(st.integers(1, 3))]]}
        for number, name in enumerate(names)
    }
    links = [
        {"endpoints": [f"{name}.{a}", f"{name}.{b}"]}
        for name, isp in isps.items()
        for a, b in pairwise(isp["routers"])
    ]
    for isp in isps.values():
        if draw_(st.booleans()):
            isp["route-reflectors"] = [draw_(st.sampled_from(isp["routers"]))]
    relations = {}

    def end(name):
        return f"{name}.{draw_(st.sampled_from(isps[name]['routers']))}"

    for place, upper in enumerate(names):
        for lower in names[place + 1 :]:
            kind = draw_(st.sampled_from(["", "", "peer", "customer"]))
            if kind:
                relations[lower, upper] = kind
                links.append({"endpoints": [end(lower), end(upper)], "relation": kind})
    exchanges = {}
    members = draw_(st.lists(st.sampled_from(names), unique=True, max_size=4))
    if len(members) > 1:
        routers = [end(name) for name in members]
        server = draw_(st.booleans())
        exchanges["ix"] = {"asn": 65000, "members": routers, "route-server": server}
        links += [{"endpoints": [router, "ix"]} for router in routers]
        for place, a in enumerate(members):
            for b in members[place + 1 :]:
                relations.setdefault((a, b), "peer") if (b, a) not in relations else None
    data = {"name": "any", "families": ["ipv4"], "isps": isps, "links": links, "exchanges": exchanges}
    return data, relations


def reachable(relations, names):
    """The networks whose prefix each should have: up, across once, and down."""
    beside = {f"{name} {way}": [] for name in names for way in ("up", "down")}
    for name in names:
        beside[f"{name} up"].append(f"{name} down")
    for (lower, upper), kind in relations.items():
        if kind == "customer":
            beside[f"{lower} up"].append(f"{upper} up")
            beside[f"{upper} down"].append(f"{lower} down")
        for a, b in ((lower, upper), (upper, lower)):
            # a peer's step may come only after going up, and a customer may be entered from above at any time
            if kind == "peer":
                beside[f"{a} up"].append(f"{b} down")
    return {
        name: {end.split()[0] for end in closure(beside, f"{name} up") if end.endswith("down")}
        for name in names
    }


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_no_valley_and_everybody_reaches_what_they_should(graph):
    data, relations = graph
    isps = data["isps"]
    name_of = {isp["asn"]: name for name, isp in isps.items()}
    found = tables(data)
    wanted = reachable(relations, isps)
    home = {
        prefix: name for name in isps for prefix, route in found[f"{name}.a"].items() if not route.session
    }
    assert len(home) == len(isps)
    for name, isp in isps.items():
        for router in isp["routers"]:
            table = found[f"{name}.{router}"]
            assert {home[prefix] for prefix in table} == wanted[name], f"{name}.{router}"
            for route in table.values():
                steps = [name, *(name_of[asn] for asn in route.path)]
                assert not valley(steps, relations), steps


def valley(steps, relations):
    """Whether a way, from the network that has the route to the one that originates it, has a valley."""
    down = False
    for here, there in pairwise(steps):
        if relations.get((here, there)) == "customer":  # from a customer to its provider
            if down:
                return True
        else:
            across = "peer" in (relations.get((here, there)), relations.get((there, here)))
            if across and down:
                return True
            down = True
    return False


# Two access networks below a provider, at an exchange; a customer of the first one; an OCA in it.
NETWORK = """
name: words
families: [ipv4]
isps:
  north: {asn: 64501, routers: [a, b], clients: {homes: {count: 2, at: b, access: any}}}
  south: {asn: 64502, routers: [a]}
  west: {asn: 64503, routers: [a]}
  small: {asn: 64504, routers: [a]}
  transit: {asn: 64510, routers: [a]}
access:
  any: {down: {rate: 10mbit}, up: {rate: 10mbit}}
exchanges:
  ix: {asn: 64520, members: [north.a, south.a, west.a, cdn.pop]}
cdn:
  asn: 64600
  oca-asn: 64601
  zone: cdn.example
  routers: [pop]
  control: {at: cdn.pop}
  origin: {at: cdn.pop}
ocas:
  oca-n: {at: north.a}
  oca-x: {at: cdn.pop}
links:
  - {endpoints: [north.a, north.b]}
  - {endpoints: [north.a, ix]}
  - {endpoints: [south.a, ix]}
  - {endpoints: [west.a, ix]}
  - {endpoints: [cdn.pop, ix]}
  - {endpoints: [north.b, transit.a], relation: customer}
  - {endpoints: [south.a, transit.a], relation: customer}
  - {endpoints: [west.a, transit.a], relation: customer}
  - {endpoints: [cdn.pop, transit.a], relation: customer}
  - {endpoints: [small.a, north.b], relation: customer}
"""
INFRASTRUCTURE, HOMES, SMALL = "10.1.0.0/18", "10.1.64.0/21", "10.4.0.0/18"


@pytest.fixture
def network():
    return yaml.safe_load(NETWORK)


def link(data, *ends):
    (found,) = (each for each in data["links"] if each["endpoints"] == [*ends])
    return found


def test_without_a_word_an_isps_oca_hears_its_own_and_its_customers(network):
    found = tables(network)
    assert {*found["oca-n"]} == {INFRASTRUCTURE, HOMES, SMALL}
    assert found["oca-n"][HOMES].path == (64501,)
    # through the CDN's router, and not through the transparent route server
    assert found["oca-x"][HOMES].path == (64600, 64501)


def test_an_oca_is_told_what_is_written_and_nobody_else_is(network):
    """More specifics, a subset; embedded and exchange OCAs see different prefixes."""
    network["ocas"]["oca-n"]["announce"] = {
        "prefixes": ["10.1.64.0/22", "10.1.64.0/21"], "med": 50, "prepend": 2, "communities": ["64501:7"],
    }  # fmt: skip
    found = tables(network)
    assert {*found["oca-n"]} == {"10.1.64.0/22", HOMES}
    route = found["oca-n"]["10.1.64.0/22"]
    assert (route.path, route.med, route.communities) == ((64501,) * 3, 50, {(64501, 7)})
    assert found["oca-n"][HOMES].path == (64501,) * 3
    assert all("10.1.64.0/22" not in table for node, table in found.items() if node != "oca-n")
    assert found["oca-x"][HOMES].path == (64600, 64501)


def test_an_oca_can_be_told_nothing(network):
    network["ocas"]["oca-n"]["announce"] = {"prefixes": []}
    assert tables(network)["oca-n"] == {}


def test_a_more_specific_for_the_exchange_alone(network):
    link(network, "north.a", "ix")["announce"] = {
        "north.a": {"prefixes": [INFRASTRUCTURE, "10.1.64.0/22"], "med": 10}
    }
    found = tables(network)
    assert "10.1.64.0/22" in found["oca-x"]
    assert HOMES not in found["oca-x"]
    assert "10.1.64.0/22" not in found["oca-n"]
    # not at the exchange, but by transit
    assert found["south.a"][HOMES].path == (64510, 64501)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"not-to": ["south"]}, {"west", "cdn"}),
        ({"only-to": ["south"]}, {"south"}),
        ({"only-to": []}, set()),
        ({"only-to": ["south", "cdn"], "not-to": ["cdn"]}, {"south"}),
        ({"communities": ["0:64502"]}, {"west", "cdn"}),
        ({"communities": ["0:64520", "64520:64502"]}, {"south"}),
        ({"communities": ["64520:0:0", "64520:1:64503"]}, {"west"}),
    ],
)
def test_a_route_server_passes_on_to_whom_the_member_wants(network, words, told):
    link(network, "north.a", "ix")["announce"] = {"north.a": words}
    found = tables(network)
    heard = {
        name
        for name, router in (("south", "south.a"), ("west", "west.a"), ("cdn", "cdn.pop"))
        if HOMES in found[router] and found[router][HOMES].by == "ix.rs"
    }
    assert heard == told
    for table in found.values():
        for route in table.values():
            assert not any(
                64520 in community[:2] or community[0] == 0 for community in route.communities
            ) or (route.by == "north.a")


def test_a_bilateral_session_beside_the_route_server(network):
    network["exchanges"]["ix"]["bilateral"] = [
        {"members": ["north.a", "south.a"], "accept": {"south.a": {"preference": 250}}}
    ]
    found = tables(network)
    assert found["south.a"][HOMES].by == "north.a"
    assert found["west.a"][HOMES].by == "ix.rs"
    network["exchanges"]["ix"]["route-server"] = False
    found = tables(network)
    assert found["south.a"][HOMES].by == "north.a"
    assert found["west.a"][HOMES].by == "transit.a"


def test_a_customer_announces_what_it_and_its_customers_have(network):
    """A prefix of somebody else is not taken from it, unless its provider says so."""
    network["isps"]["small"]["originate"] = [{"prefix": "192.0.2.0/24"}]
    assert tables(network)["transit.a"]["192.0.2.0/24"].path == (64501, 64504)
    hijacked = described(network)
    thief = hijacked["small.a"]
    hijacked["small.a"] = replace(thief, originates=(*thief.originates, "10.2.0.0/18"))
    assert converged(hijacked.values())["north.b"]["10.2.0.0/18"].path != (64504,)
    link(network, "small.a", "north.b")["accept"] = {"north.b": {"prefixes": "any"}}
    careless = described(network)
    careless["small.a"] = hijacked["small.a"]
    assert converged(careless.values())["north.b"]["10.2.0.0/18"].path == (64504,)


def test_what_is_prepended_is_avoided(network):
    link(network, "north.b", "transit.a")["announce"] = {"north.b": {"prepend": 3}}
    found = tables(network)
    assert found["transit.a"][HOMES].path == (64501,) * 4
    assert found["cdn.pop"][HOMES].path == (64501,)


def test_reflectors_are_in_place_of_a_mesh():
    routers = [*"abcdef"]
    data = {
        "name": "reflected", "families": ["ipv4"],
        "isps": {
            "big": {"asn": 64501, "routers": routers, "clusters": {"a": ["c", "d"], "b": ["e", "f"]}},
            "one": {"asn": 64502, "routers": ["a"]}, "two": {"asn": 64503, "routers": ["a"]},
        },
        "links": [
            *({"endpoints": [f"big.{x}", f"big.{y}"]} for x, y in pairwise(routers)),
            {"endpoints": ["one.a", "big.c"], "relation": "customer"},
            {"endpoints": ["two.a", "big.f"], "relation": "customer"},
        ],
    }  # fmt: skip
    inside = {
        node: sorted(each.neighbor for each in routing.sessions if each.relation == "internal")
        for node, routing in described(data).items()
    }
    assert inside["big.a"] == ["big.b", "big.c", "big.d"]
    assert inside["big.c"] == ["big.a"]
    found = tables(data)
    for router in routers:
        assert {*found[f"big.{router}"]} >= {"10.2.0.0/18", "10.3.0.0/18"}
    data["isps"]["big"].pop("clusters")
    data["isps"]["big"]["route-reflectors"] = ["a", "b"]
    routers_now = described(data)
    assert sum(len(each.sessions) for each in routers_now.values()) == 2 * (1 + 4 + 4 + 2)
    assert {*converged(routers_now.values())["big.e"]} >= {"10.2.0.0/18", "10.3.0.0/18"}


ROV = """
name: rov
families: [ipv4]
isps:
  strict: {asn: 64510, routers: [a, b], rov: true}
  lax: {asn: 64511, routers: [r]}
  owner: {asn: 64520, routers: [r], prefix: 10.20.0.0/16, originate: [{prefix: 10.20.128.0/20}]}
  thief: {asn: 64521, routers: [r], originate: [{prefix: 10.20.64.0/20, anycast: true}]}
rpki:
  cache: {at: lax.r, roas: [{prefix: 10.20.0.0/16, max-length: 20, asn: 64520}]}
links:
  - {endpoints: [strict.a, strict.b]}
  - {endpoints: [strict.a, lax.r], relation: peer}
  - {endpoints: [owner.r, strict.a], relation: customer, accept: {strict.a: {prefixes: any}}}
  - {endpoints: [owner.r, lax.r], relation: customer}
  - {endpoints: [thief.r, strict.a], relation: customer, accept: {strict.a: {prefixes: any}}}
  - {endpoints: [thief.r, lax.r], relation: customer, accept: {lax.r: {prefixes: any}}}
"""


def test_what_is_invalid_is_dropped_where_it_enters_and_nothing_else_is():
    routers = described(yaml.safe_load(ROV))
    found = converged(routers.values(), [Roa("10.20.0.0/16", 20, 64520)])
    assert {node for node, table in found.items() if "10.20.64.0/20" in table} == {
        "lax.r",
        "thief.r",
        "owner.r",
    }
    assert all("10.20.128.0/20" in table for table in found.values())
    assert all("10.20.0.0/18" in table for table in found.values())


def test_only_routers_that_hear_others_ask_the_cache_and_neighbours_inside_are_believed():
    routers = described(yaml.safe_load(ROV))
    assert {node for node, routing in routers.items() if routing.caches} == {"strict.a"}
    (inside,) = (each for each in routers["strict.a"].sessions if each.relation == "internal")
    assert not any(rule.validity for rule in inside.takes.rules)


def test_an_accepted_route_is_validated_first():
    """RFC 7115, section 5: whatever else is said of a neighbour."""
    routers = described(yaml.safe_load(ROV))
    for session in routers["strict.a"].sessions:
        if session.relation != "internal":
            assert session.takes.rules[0].validity == "invalid"
            assert not session.takes.rules[0].permit
