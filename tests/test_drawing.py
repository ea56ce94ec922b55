"""Drawing: what is added at an end moves nobody else, and who speaks with whom in which family."""

from __future__ import annotations

import copy
import ipaddress
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.model import rules
from testbed.model.schema import Topology
from testbed.plan.addresses import PlanError
from testbed.plan.drawing import draw
from testbed.plan.pki import Authority

ROOT = Path(__file__).parent.parent
EVERYTHING = Path(__file__).parent / "golden" / "everything.yaml"


def drawn(data):
    """The blueprint of a topology that breaks no rule."""
    topology = Topology.model_validate(data)
    assert [(each.location, each.what) for each in rules.breaches(topology)] == []
    return draw(topology, (), Authority(1, 0))


def metro(**changes):
    return yaml.safe_load((ROOT / "topologies" / "metro.yaml").read_text()) | changes


def unpinned6(data):
    """The same without IPv6 addresses and prefixes."""
    if isinstance(data, dict):
        return {key: unpinned6(value) for key, value in data.items() if not key.endswith("6")}
    return [unpinned6(value) for value in data] if isinstance(data, list) else data


def network(routers, links=(), **rest):
    """One AS, its routers joined in a chain unless links are given."""
    chain = [{"endpoints": [f"net.{a}", f"net.{b}"]} for a, b in pairwise(routers)]
    isps = {"net": {"asn": 64500, "routers": list(routers)}}
    return {"name": "one", "isps": isps, "links": list(links or chain)} | rest


def everything():
    """The demo's network, and all that a topology without a CDN can have."""
    data, text = metro(), EVERYTHING.read_text()
    for word, other in {"north": "nord", "south": "sued", "ix": "dix"}.items():
        text = re.sub(rf"\b{word}\b", other, text)
    other = yaml.safe_load(text.replace("asn: 64", "asn: 65"))
    del other["hosts"]["server"]["address"]  # which is in the prefix that its network has in the other file
    for group in ("isps", "exchanges", "access"):
        data[group] |= other[group]
    data["links"] += other["links"]
    data["links"] += [
        {"endpoints": [end, "transit.a"], "relation": "customer"}
        for end in ("nord.core", "sued.core", "lone.a")
    ]
    return data | {group: other[group] for group in ("switches", "hosts", "rpki")}


def add_isp(data, new):
    data["isps"][new] = {"asn": 10_000 + len(data["isps"]), "routers": ["a"]}
    data["links"].append({"endpoints": [f"{new}.a", "transit.a"], "relation": "customer"})


def add_pinned_isp(data, new):
    number = len(data["isps"])
    data["isps"][new] = {
        "asn": 10_000 + number, "routers": ["a"],
        "prefix": f"10.{150 + number}.0.0/16", "prefix6": f"2001:db8:7{number:02d}::/48",
    }  # fmt: skip
    data["links"].append({"endpoints": [f"{new}.a", "transit.a"], "relation": "customer"})


def add_router(data, new):
    data["isps"]["north"]["routers"].append(new)
    data["links"].append({"endpoints": ["north.core", f"north.{new}"]})


def add_router_of_the_cdn(data, new):
    data["cdn"]["routers"].append(new)
    data["links"].append({"endpoints": ["cdn.pop", f"cdn.{new}"]})


def add_exchange(data, new):
    members = ["north.core", "south.core"]
    data["exchanges"][new] = {"asn": 20_000 + len(data["exchanges"]), "members": members}
    data["links"] += [{"endpoints": [new, member]} for member in members]


def add_member(data, new):
    add_isp(data, new)
    data["exchanges"]["ix"]["members"].append(f"{new}.a")
    data["links"].append({"endpoints": [f"{new}.a", "ix"]})


def add_vlan_at_an_exchange(data, new):
    vlan = 1000 + len(data["links"])
    data["links"] += [{"endpoints": [end, "ix"], "vlan": vlan} for end in ("north.core", "south.core")]


def add_oca(data, new):
    data["ocas"][new] = {"at": "north.edge"}


def add_oca_in_a_network_without_servers(data, new):
    data["ocas"][new] = {"at": "transit.a"}


def add_population(data, new):
    data["isps"]["north"]["clients"][new] = {"count": 3, "at": "edge", "access": "cable"}


def add_clients(data, new):
    data["isps"]["south"]["clients"]["phones"]["count"] += 1


def add_host(data, new):
    data["hosts"][new] = {"at": "north.core"}


def add_cache(data, new):
    roas = [{"prefix": "10.1.0.0/16", "asn": 64501}]
    data["rpki"][new] = {"at": "cdn.pop", "roas": roas}


def add_host_at_a_switch(data, new):
    data["hosts"][new] = {"at": "s2"}


def add_host_in_a_vlan(data, new):
    data["hosts"][new] = {"at": "s1", "vlan": 10}


def add_pinned_host(data, new):
    data["hosts"][new] = {"at": "s2", "address": f"172.16.1.{len(data['hosts'])}"}


def add_switch(data, new):
    data["switches"][new] = {"vlans": [10, 20]}


def add_joined_switch(data, new):
    data["switches"][new] = {"stp": True, "vlans": [10]}
    data["links"].append({"endpoints": [new, "s1"]})


def add_gateway(data, new):
    data["switches"][new] = {}
    data["hosts"][f"{new}-h"] = {"at": new}
    data["links"].append({"endpoints": [new, "lone.a"]})


def add_link(data, new):
    add_router(data, new)
    data["links"].append({"endpoints": ["north.edge", f"north.{new}"]})


def add_link_of_a_host(data, new):
    add_switch(data, new)
    data["links"].append({"endpoints": ["h1", new]})


KINDS = [found for name, found in list(globals().items()) if name.startswith("add_")]


def kept(plan):
    """All that must stay: the nodes' addresses, what their interfaces are, and what networks announce."""
    nodes = {
        name: (node.role, node.asn, node.isp, node.address, node.address6, node.loopbacks)
        for name, node in plan.nodes.items()
    }
    interfaces = {
        (node.name, each.link): (
            each.name, each.mac, each.address, each.address6, each.peer, each.peer_address,
            each.peer_address6, each.vlan,
        )
        for node in plan.nodes.values()
        for each in node.interfaces
    }  # fmt: skip
    links = {name: (link.a, link.a_interface, link.b, link.b_interface) for name, link in plan.links.items()}
    originates = {
        (network.name, router, prefix): True
        for network in plan.networks.values()
        for router, prefixes in network.originates.items()
        for prefix in prefixes
    }
    prefixes = {name: (lan.prefixes.v4, lan.prefixes.v6) for name, lan in plan.lans.items()}
    routes = {name: node.routes for name, node in plan.nodes.items() if node.routes}
    return nodes, interfaces, links, originates, prefixes, routes


@pytest.fixture(scope="module")
def whole():
    data = everything()
    return data, kept(drawn(data))


@pytest.mark.parametrize("add", KINDS, ids=lambda add: add.__name__)
def test_one_more_at_an_end_changes_nobody_else(whole, add):
    data, before = whole
    data = copy.deepcopy(data)
    add(data, "extra")
    after = kept(drawn(data))
    assert any(len(late) > len(early) for early, late in zip(before, after, strict=True))
    for early, late in zip(before, after, strict=True):
        assert early.items() <= late.items()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=8))
def test_however_many_are_added_at_ends_nobody_else_changes(adds):
    data = everything()
    before = kept(drawn(data))
    for number, add in enumerate(adds):
        add(data, f"extra{number}")
    for early, late in zip(before, kept(drawn(data)), strict=True):
        assert early.items() <= late.items()


def test_no_address_or_mac_is_given_twice_and_lans_and_links_are_subnets():
    plan = drawn(everything())
    interfaces = [each for node in plan.nodes.values() for each in node.interfaces]
    assert len({each.mac for each in interfaces}) == len(interfaces) == 2 * len(plan.links)
    for key in ("address", "address6"):
        given = [getattr(each, key) for each in interfaces if getattr(each, key)]
        loopbacks = [own for node in plan.nodes.values() for own in node.loopbacks]
        hosts = [text.partition("/")[0] for text in given + loopbacks]
        assert len(hosts) == len(set(hosts))
        by_subnet = {}
        for each in interfaces:
            if getattr(each, key):
                lan = plan.lan_of.get(each.link)
                where = lan.name if lan else each.link
                by_subnet.setdefault(ipaddress.ip_interface(getattr(each, key)).network, set()).add(where)
        assert all(len(where) == 1 for where in by_subnet.values())
        subnets = sorted(by_subnet)
        assert not any(a.overlaps(b) for a, b in pairwise(subnets))


def test_an_ipv6_address_ends_with_the_ipv4_address_beside_it():
    plan = drawn(metro())
    for node in plan.nodes.values():
        for each in node.interfaces:
            if each.address:
                four = int(ipaddress.ip_interface(each.address).ip)
                assert int(ipaddress.ip_interface(each.address6).ip) & 0xFFFF_FFFF == four


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_family_alone_has_the_addresses_that_it_has_beside_the_other(family):
    data = unpinned6(yaml.safe_load(EVERYTHING.read_text()))
    both, alone = drawn(data), drawn(data | {"families": [family]})
    for name, node in alone.nodes.items():
        beside = both.nodes[name]
        assert (node.address6, node.address)[family == "ipv6"] == ""
        assert (node.address, node.address6)[family == "ipv6"] == (beside.address, beside.address6)[
            family == "ipv6"
        ]
        assert [(each.mac, each.name) for each in node.interfaces] == [
            (each.mac, each.name) for each in beside.interfaces
        ]
        assert all((":" in text) == (family == "ipv6") for text in node.loopbacks)
        assert all((":" in route.via) == (family == "ipv6") for route in node.routes)
    sessions = [each for found in alone.neighbors.values() for each in found]
    assert {each.family for each in sessions} == {6 if family == "ipv6" else 4}
    assert 2 * len(sessions) == sum(map(len, both.neighbors.values()))


def test_every_session_has_another_of_the_other_family_over_the_same_two_nodes():
    plan = drawn(everything())
    for name, found in plan.neighbors.items():
        for each in found:
            twin = [other for other in found if (other.node, other.relation) == (each.node, each.relation)]
            assert sum(other.family == 4 for other in twin) == sum(other.family == 6 for other in twin)
            assert ipaddress.ip_address(each.address).version == each.family
            back = [other for other in plan.neighbors[each.node] if other.node == name]
            assert (each.local_address, each.address) in [
                (other.address, other.local_address) for other in back
            ]


def test_inside_a_network_sessions_are_between_loopbacks_and_outside_between_interfaces():
    plan = drawn(metro())
    (four, six) = (each for each in plan.neighbors["north.core"] if each.relation == "internal")
    edge = plan.nodes["north.edge"]
    assert (four.address, six.address) == (edge.address, edge.address6)
    (four, six) = (each for each in plan.neighbors["north.core"] if each.node == "transit.a")
    (port,) = (each for each in plan.nodes["transit.a"].interfaces if each.peer == "north.core")
    assert (four.address, six.address) == (port.address.partition("/")[0], port.address6.partition("/")[0])


def test_a_network_that_nobody_tells_anything_has_no_bgp():
    data = network(["a", "b", "c"])
    assert not any(drawn(data).neighbors.values())
    data["isps"]["other"] = {"asn": 64501, "routers": ["x"]}
    data["links"].append({"endpoints": ["net.a", "other.x"], "relation": "peer"})
    neighbors = drawn(data).neighbors
    assert {each.node for each in neighbors["net.c"]} == {"net.a", "net.b"}
    assert {each.relation for each in neighbors["net.c"]} == {"internal"}


def test_members_of_a_vlan_at_an_exchange_speak_with_each_other():
    plan = drawn(yaml.safe_load(EVERYTHING.read_text()))
    lan = plan.lans["ix", 300]
    assert set(lan.nodes) == {"north.edge", "south.core"}
    found = [each for each in plan.neighbors["north.edge"] if each.node == "south.core"]
    assert [(each.relation, each.family) for each in found] == [("peer", 4), ("peer", 6)]
    assert ipaddress.ip_address(found[0].address) in lan.prefixes.v4
    assert all(
        each.node != "ix.rs" or each.relation == "route-server" for each in plan.neighbors["north.edge"]
    )
    (port,) = (each for each in plan.nodes["ix"].interfaces if each.link == "north.edge--ix.300")
    assert port.vlan == 300


def test_without_a_route_server_members_speak_with_each_other_but_not_within_a_network():
    data = metro()
    data["exchanges"]["ix"] |= {"route-server": False, "members": ["north.core", "north.edge", "south.core"]}
    data["links"] = [link for link in data["links"] if link["endpoints"] != ["cdn.pop", "ix"]]
    data["links"].append({"endpoints": ["north.edge", "ix"]})
    plan = drawn(data)
    assert "ix.rs" not in plan.nodes
    at_exchange = [each.node for each in plan.neighbors["north.core"] if each.relation == "peer"]
    assert at_exchange == ["south.core", "south.core"]


def test_hosts_on_a_lan_go_out_by_its_router_and_its_prefix_is_announced():
    plan = drawn(yaml.safe_load(EVERYTHING.read_text()))
    lan = plan.lans["s1", 0]
    gateway = lan.nodes["north.lab"]
    assert [route.via for route in plan.nodes["h2"].routes] == [gateway.address4, gateway.address6]
    assert [route.prefix for route in plan.nodes["h2"].routes] == ["0.0.0.0/0", "::/0"]
    assert lan.prefixes.v4 in plan.networks["north"].connects
    assert lan.prefixes.v6 in plan.networks["north"].connects
    assert plan.network_of("h2").name == "north"
    assert plan.nodes["idle"].routes == ()


def test_what_is_pinned_outside_of_what_a_network_announces_is_announced():
    plan = drawn(yaml.safe_load(EVERYTHING.read_text()))
    south = plan.networks["south"]
    assert ipaddress.ip_network("10.1.200.1/32") in south.connects
    assert ipaddress.ip_network("10.1.77.0/30") in south.connects
    assert len(south.connects) == 2  # what is pinned in the infrastructure is announced with it


def test_pins_are_kept_and_planned_around():
    plan = drawn(yaml.safe_load(EVERYTHING.read_text()))
    nodes = plan.nodes
    assert (nodes["south.core"].address, nodes["south.core"].address6) == ("10.1.200.1", "2001:db8:5::1")
    assert nodes["h2"].address == "172.16.0.1"
    assert nodes["h1"].address not in ("172.16.0.1", "")
    assert nodes["h3"].address6 == "2001:db8:a001:10::7"
    assert nodes["server"].interfaces[0].peer_address == "10.202.40.8"
    ends = [each.address for each in (*nodes["south.core"].interfaces, *nodes["south.spare"].interfaces)]
    assert {"10.1.77.1/30", "10.1.77.2/30"} <= set(ends)
    assert plan.networks["north"].block.infrastructure == ipaddress.ip_network(
        "10.202.0.0/18"
    )  # 10.1 is pinned
    assert plan.networks["lone"].block.infrastructure == ipaddress.ip_network("10.3.0.0/18")


def test_a_pin_moves_only_who_had_the_address():
    data = network(["a", "b", "c", "d"])
    before = drawn(data)
    data["isps"]["net"]["loopbacks"] = {"d": {"address": before.nodes["net.b"].address}}
    after = drawn(data)
    moved = {name for name in before.nodes if before.nodes[name].address != after.nodes[name].address}
    assert moved == {"net.b", "net.d"}
    assert [node.interfaces for node in before.nodes.values()] == [
        node.interfaces for node in after.nodes.values()
    ]


def test_a_thousand_networks_have_room_and_the_small_ones_say_when_they_have_not():
    data = {
        "name": "many",
        "isps": {f"as{n}": {"asn": n, "routers": ["a"]} for n in range(1, 1225)},
        "links": [
            {"endpoints": [f"as{n}.a", f"as{n // 3 or 1}.a"], "relation": "customer"} for n in range(2, 1225)
        ],
    }
    plan = drawn(data)
    assert str(plan.nodes["as200.a"].address) == "10.200.48.1"
    assert str(plan.nodes["as201.a"].address) == "100.64.3.1"
    assert plan.nodes["as1224.a"].address6.startswith("2001:db8:1224:")
    data["isps"]["as300"]["routers"] = [f"r{n}" for n in range(130)]
    data["links"] = []
    with pytest.raises(PlanError, match=r"routers of as300: more than the 127 .* pin a wider prefix"):
        draw(Topology.model_validate(data), (), Authority(1, 0))


def test_a_bare_network_has_none_of_the_cdns_servers():
    plan = drawn(network(["a", "b"]))
    assert {node.role for node in plan.nodes.values()} == {"router"}
    assert len(plan.links) == 1
