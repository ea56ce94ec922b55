"""The rules of paths: a network holds together, two relate in one way, and all reach what they ask."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from testbed.model.breach import Breach, network_at
from testbed.model.document import Location
from testbed.model.reach import closure
from testbed.model.topology import CDN, Topology

_INVERSE = {"customer": "provider", "provider": "customer", "peer": "peer"}


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the paths of a topology break, which is well otherwise."""
    for rule in (_insides, _relations, _reach):
        yield from rule(topology)


def _insides(topology: Topology) -> Iterator[Breach]:
    """Every network must hold together without the others."""
    routers = topology.routers
    beside: dict[str, set[str]] = {router: set() for router in routers}
    on_lan: dict[tuple[str, int | None], list[str]] = {}
    joined = []
    for wire in topology.links:
        a, b = wire.endpoints
        if a in routers and b in routers:
            joined.append((a, b))
        elif a in topology.switches or b in topology.switches:
            switch, router = (a, b) if a in topology.switches else (b, a)
            if router in routers:
                on_lan.setdefault((topology.segments[switch], wire.vlan), []).append(router)
    joined += [pair for together in on_lan.values() for pair in pairwise(together)]
    for a, b in joined:
        if routers[a] == routers[b]:
            beside[a].add(b)
            beside[b].add(a)
    for name, network in topology.networks.items():
        own = [f"{name}.{router}" for router in network.routers]
        reached = closure(beside, own[0])
        for place, router in enumerate(own):
            if router not in reached:
                what = f"no path inside {name} joins {own[0]} and {router}"
                yield Breach(
                    (*network_at(name), "routers", place),
                    what,
                    f"write a link {{endpoints: [{own[0]}, {router}]}}",
                )


def _sides(topology: Topology) -> dict[str, dict[str, str]]:
    """What each network is to each of its neighbours, as the links say; peers over an exchange too."""
    routers = topology.routers
    sides: dict[str, dict[str, str]] = {name: {} for name in topology.networks}
    together: dict[tuple[str, int | None], set[str]] = {}  # networks on each of an exchange's LANs
    for wire in topology.links:
        a, b = wire.endpoints
        exchange, member = (a, b) if a in topology.exchanges else (b, a)
        if exchange in topology.exchanges and not (
            wire.vlan is None
            and topology.exchanges[exchange].bilateral
            and not topology.exchanges[exchange].route_server
        ):
            together.setdefault((exchange, wire.vlan), set()).add(routers[member])
    for members in together.values():
        for member in members:
            sides[member] |= {other: "peer" for other in members if other != member}
    pairs = [(pair.members, pair.relation) for each in topology.exchanges.values() for pair in each.bilateral]
    for ends, relation in (*pairs, *((wire.endpoints, wire.relation) for wire in topology.links)):
        if relation is not None:
            a, b = (routers[end] for end in ends)
            sides[a][b] = relation
            sides[b][a] = _INVERSE[relation]
    return sides


def _relations(topology: Topology) -> Iterator[Breach]:
    """Two networks relate in one way; nobody should be its provider's provider (Gao and Rexford, 2001)."""
    routers = topology.routers
    said: dict[tuple[str, str], tuple[str, int]] = {}
    for place, wire in enumerate(topology.links):
        if wire.relation is None:
            continue
        a, b = (routers[end] for end in wire.endpoints)
        relation, first = said.setdefault((a, b), (wire.relation, place))
        said.setdefault((b, a), (_INVERSE[wire.relation], place))
        if relation != wire.relation:
            what = f"{a} is {wire.relation} of {b} here and {relation} in links.{first}"
            yield Breach(
                ("links", place, "relation"), what, f"write relation: {relation} or change the other"
            )
    providers = {
        name: [other for other, relation in sides.items() if relation == "customer"]
        for name, sides in _sides(topology).items()
    }
    try:
        TopologicalSorter(providers).prepare()
    except CycleError as cycle:
        around: list[str] = cycle.args[1]
        places: list[Location] = [
            ("links", place, "relation")
            for place, wire in enumerate(topology.links)
            if wire.relation in ("customer", "provider")
            and {routers[end] for end in wire.endpoints} <= set(around)
        ]
        what = f"the networks pay one another in a circle: {', '.join(around)}"
        hint = "routing need not settle; write relation: peer for one of them"
        yield Breach(places[0] if places else ("exchanges",), what, hint, warns=True)


def _reach(topology: Topology) -> Iterator[Breach]:
    """Every network needs a path that its neighbours' policies allow to the CDN's servers and to its caches.

    A path climbs from customer to provider, crosses between peers at most once, and descends.
    """
    asked = {name: _asked(topology, name) for name in topology.networks}
    if not any(asked.values()):
        return
    sides = _sides(topology)
    beside: dict[str, list[str]] = {}
    for name, neighbours in sides.items():
        beside[f"{name} up"] = [f"{name} down"]
        beside[f"{name} down"] = []
        for other, relation in neighbours.items():
            beside[f"{name} up"].append(f"{other} up" if relation == "customer" else f"{other} down")
            if relation == "provider":
                beside[f"{name} down"].append(f"{other} down")
    routers = topology.routers
    for name in topology.networks:
        reached = closure(beside, f"{name} up")
        for location, server, at in asked[name]:
            if f"{routers[at]} down" not in reached:
                what = f"no path leads from {name} to {server} in {routers[at]}"
                hint = "write a link with relation: customer to a network that reaches it"
                yield Breach(location, what, hint, on_key=True)
                break


def _asked(topology: Topology, name: str) -> list[tuple[Location, str, str]]:
    """What a network has to reach: where to say that it does not, what it is, and its router."""
    caches = topology.caches_of(name)
    found: list[tuple[Location, str, str]] = [
        ((*network_at(name), "rov"), f"the RPKI cache {cache}", topology.rpki[cache].at) for cache in caches
    ]
    if topology.cdn:
        for server, at in (("control", topology.cdn.control.at), ("origin", topology.cdn.origin.at)):
            location: Location = ("cdn", server) if name == CDN else ("isps", name)
            found.append((location, f"the CDN's {server}", at))
    return found
