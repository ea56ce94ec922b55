"""The rules of a topology that no field can tell by itself: names, references, relations, reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from testbed.model.document import Location
from testbed.model.link import LinkSpec
from testbed.model.topology import CDN, Topology, Wire
from testbed.refusal import quoted, suggestion
from testbed.units import show_duration

_INVERSE = {"customer": "provider", "provider": "customer", "peer": "peer"}


class Breach(NamedTuple):
    """A rule broken at a place of the document."""

    location: Location
    what: str
    hint: str
    on_key: bool = False


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that a topology breaks; the paths between networks are judged once all else is well."""
    found = 0
    for rule in (_names, _asns, _references, _wires, _memberships, _shapes):
        for breach in rule(topology):
            found += 1
            yield breach
    if not found:
        for rule in (_insides, _relations, _reach):
            yield from rule(topology)


def absent(what: str, name: str, there: Iterable[str], otherwise: str) -> tuple[str, str]:
    """What to say of a name that does not exist."""
    return f"there is no {what} {quoted(name)}", suggestion(name, there, otherwise)


def _names(topology: Topology) -> Iterator[Breach]:
    taken: dict[str, str] = {
        **dict.fromkeys(("steering", "authority", "origin"), "a server of the CDN"),
        CDN: "the CDN's network",
        **{f"{name}.resolver": f"the resolver of {name}" for name in topology.networks},
        **{f"{name}.rs": f"the route server of {name}" for name in topology.exchanges},
    }

    def named() -> Iterator[tuple[str, Location, str]]:
        for isp, known in topology.isps.items():
            yield isp, ("isps", isp), "an ISP"
            for place, router in enumerate(known.routers):
                yield f"{isp}.{router}", ("isps", isp, "routers", place), "a router"
            for population in known.clients:
                yield f"{isp}.{population}", ("isps", isp, "clients", population), "a population of clients"
        for place, router in enumerate(topology.cdn.routers):
            yield f"{CDN}.{router}", ("cdn", "routers", place), "a router"
        for exchange in topology.exchanges:
            yield exchange, ("exchanges", exchange), "an exchange"
        for oca in topology.ocas:
            yield oca, ("ocas", oca), "an OCA"

    for name, location, what in named():
        if name in taken:
            yield Breach(
                location, f"{name} is already the name of {taken[name]}", "choose another name", on_key=True
            )
        else:
            taken[name] = what


def _asns(topology: Topology) -> Iterator[Breach]:
    taken: dict[int, str] = {}
    groups = (("isps", topology.isps), ("exchanges", topology.exchanges))
    numbered: list[tuple[Location, str, int]] = [
        ((group, name, "asn"), name, owner.asn) for group, owners in groups for name, owner in owners.items()
    ]
    numbered.append((("cdn", "asn"), CDN, topology.cdn.asn))
    numbered.append((("cdn", "oca-asn"), "the OCAs", topology.cdn.oca_asn))
    for location, owner, asn in numbered:
        if asn in taken:
            free = next(number for number in range(64496, 2**32) if number not in taken)
            yield Breach(
                location, f"AS {asn} is already that of {taken[asn]}", f"write another, for example {free}"
            )
        taken.setdefault(asn, owner)


def _references(topology: Topology) -> Iterator[Breach]:
    for isp, known in topology.isps.items():
        for name, clients in known.clients.items():
            here: Location = ("isps", isp, "clients", name)
            if clients.at not in known.routers:
                yield Breach(
                    (*here, "at"),
                    *absent(f"router of {isp} called", clients.at, known.routers, f"write a router of {isp}"),
                )
            if clients.access not in topology.access:
                otherwise = "describe it under access:"
                yield Breach((*here, "access"), *absent("access", clients.access, topology.access, otherwise))
    routers = topology.routers
    hosts: list[tuple[Location, str]] = [
        (("ocas", name, "at"), oca.at) for name, oca in topology.ocas.items()
    ]
    hosts += [
        (("cdn", "control", "at"), topology.cdn.control.at),
        (("cdn", "origin", "at"), topology.cdn.origin.at),
    ]
    for location, at in hosts:
        if at in topology.exchanges:
            hint = f"write a member of it: {', '.join(topology.exchanges[at].members[:8])}"
            yield Breach(location, f"{at} is an exchange, which hosts nothing", hint)
        elif at not in routers:
            yield Breach(location, *absent("router", at, routers, "write <isp>.<router>"))
    for name, exchange in topology.exchanges.items():
        for place, member in enumerate(exchange.members):
            location = ("exchanges", name, "members", place)
            if member not in routers:
                yield Breach(location, *absent("router", member, routers, "write <isp>.<router>"))
            elif member in exchange.members[:place]:
                yield Breach(location, f"{member} is a member twice", "write it once")


def _wires(topology: Topology) -> Iterator[Breach]:
    routers = topology.routers
    ends = {*routers, *topology.exchanges}
    seen: dict[frozenset[str], int] = {}
    for place, wire in enumerate(topology.links):
        location: Location = ("links", place)
        known = True
        for end, name in enumerate(wire.endpoints):
            if name not in ends:
                known = False
                yield Breach((*location, "endpoints", end), *_no_end(topology, name, ends))
        if not known:
            continue
        a, b = wire.endpoints
        if a == b:
            yield Breach((*location, "endpoints", 1), f"joins {a} with itself", "write two different nodes")
            continue
        if (first := seen.setdefault(frozenset((a, b)), place)) != place:
            hint = "keep one; its rate is what both would carry"
            yield Breach((*location, "endpoints"), f"{a} and {b} are already joined by links.{first}", hint)
            continue
        if a in topology.exchanges and b in topology.exchanges:
            yield Breach(
                (*location, "endpoints"), f"{a} and {b} are both exchanges", "join an exchange with a router"
            )
            continue
        yield from _relation(topology, wire, location)


def _no_end(topology: Topology, name: str, ends: Iterable[str]) -> tuple[str, str]:
    if name in topology.ocas:
        return (
            f"{name} is an OCA, which has one link, to its router",
            f"delete this link; ocas.{name}.at makes it",
        )
    if topology.has_node(name) or name in topology.populations:
        return (
            f"{name} has one link already, to its router",
            "delete this link; links join routers and exchanges",
        )
    return absent("router or exchange", name, ends, "write <isp>.<router> or an exchange")


def _relation(topology: Topology, wire: Wire, location: Location) -> Iterator[Breach]:
    routers = topology.routers
    a, b = wire.endpoints
    exchange, member = (a, b) if a in topology.exchanges else (b, a)
    if exchange in topology.exchanges:
        if wire.relation is not None:
            what = f"{exchange} is an exchange, where all are peers"
            yield Breach((*location, "relation"), what, "delete relation", on_key=True)
        if member not in topology.exchanges[exchange].members:
            what = f"{member} is not a member of {exchange}"
            yield Breach((*location, "endpoints"), what, f"add {member} to exchanges.{exchange}.members")
    elif routers[a] == routers[b] and wire.relation is not None:
        what = f"{a} and {b} are both in {routers[a]}, no relation is between them"
        yield Breach((*location, "relation"), what, "delete relation", on_key=True)
    elif routers[a] != routers[b] and wire.relation is None:
        what = f"{a} and {b} are of two networks, and nothing says how they relate"
        hint = (
            f"write relation: and customer, provider or peer, which is what {routers[a]} is to {routers[b]}"
        )
        yield Breach(location, what, hint)


def _memberships(topology: Topology) -> Iterator[Breach]:
    joined = {frozenset(wire.endpoints) for wire in topology.links}
    routers = topology.routers
    for name, exchange in topology.exchanges.items():
        for place, member in enumerate(exchange.members):
            if member in routers and frozenset((member, name)) not in joined:
                what, hint = (
                    f"{member} has no link to {name}",
                    f"write a link {{endpoints: [{member}, {name}]}}",
                )
                yield Breach(("exchanges", name, "members", place), what, hint)


def _shapes(topology: Topology) -> Iterator[Breach]:
    """What a link is told, with the defaults under it, must make sense together."""
    below = topology.defaults.link
    specs: list[tuple[Location, LinkSpec]] = [(("defaults", "link"), below)]
    for name, access in topology.access.items():
        specs += [(("access", name, "down"), access.down), (("access", name, "up"), access.up)]
    specs += [(("cdn", "control"), topology.cdn.control), (("cdn", "origin"), topology.cdn.origin)]
    specs += [(("ocas", name), oca) for name, oca in topology.ocas.items()]
    for place, wire in enumerate(topology.links):
        location: Location = ("links", place)
        specs.append((location, wire))
        for direction, spec in (("forward", wire.forward), ("backward", wire.backward)):
            if spec is not None:
                specs.append(((*location, direction), spec.over(wire)))
    for location, spec in specs:
        whole = spec.over(below)
        if (whole.jitter or 0) > (whole.delay or 0):
            what = "the jitter is more than the delay, so packets would arrive before they are sent"
            yield Breach(
                location, what, f"write jitter: of at most the delay, {show_duration(whole.delay or 0)}"
            )
        if whole.queue is not None and whole.queue.ns is not None and whole.rate is None:
            what = f"a queue of {whole.queue.shown()} needs a rate to have a length"
            yield Breach(location, what, "write a rate, or the queue in packets (200p)")


def _insides(topology: Topology) -> Iterator[Breach]:
    """Every network must hold together without the others."""
    routers = topology.routers
    beside: dict[str, set[str]] = {router: set() for router in routers}
    for wire in topology.links:
        a, b = wire.endpoints
        if routers.get(a) == routers.get(b):
            beside[a].add(b)
            beside[b].add(a)
    for name, network in topology.networks.items():
        own = [f"{name}.{router}" for router in network.routers]
        reached = _closure(beside, own[0])
        for place, router in enumerate(own):
            if router not in reached:
                location = ("cdn", "routers", place) if name == CDN else ("isps", name, "routers", place)
                what = f"no path inside {name} joins {own[0]} and {router}"
                yield Breach(location, what, f"write a link {{endpoints: [{own[0]}, {router}]}}")


def _closure(beside: Mapping[str, Iterable[str]], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        for neighbour in beside[waiting.pop()]:
            if neighbour not in reached:
                reached.add(neighbour)
                waiting.append(neighbour)
    return reached


def _sides(topology: Topology) -> dict[str, dict[str, str]]:
    """What each network is to each of its neighbours, as the links say; peers over an exchange too."""
    routers = topology.routers
    sides: dict[str, dict[str, str]] = {name: {} for name in topology.networks}
    for exchange in topology.exchanges.values():
        members = {routers[member] for member in exchange.members}
        for member in members:
            sides[member] |= {other: "peer" for other in members if other != member}
    for wire in topology.links:
        if wire.relation is not None:
            a, b = (routers[end] for end in wire.endpoints)
            sides[a][b] = wire.relation
            sides[b][a] = _INVERSE[wire.relation]
    return sides


def _relations(topology: Topology) -> Iterator[Breach]:
    """Two networks relate in one way, and nobody is its own provider's provider (Gao and Rexford, 2001)."""
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
        place = next(
            place
            for place, wire in enumerate(topology.links)
            if wire.relation in ("customer", "provider")
            and {routers[end] for end in wire.endpoints} <= set(around)
        )
        what = f"the networks pay one another in a circle: {', '.join(around)}"
        yield Breach(("links", place, "relation"), what, "write relation: peer for one of them")


def _reach(topology: Topology) -> Iterator[Breach]:
    """Every network needs a path that its neighbours' policies allow to the CDN's servers.

    A path climbs from customer to provider, crosses between peers at most once, and descends.
    """
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
        reached = _closure(beside, f"{name} up")
        for server, at in (("control", topology.cdn.control.at), ("origin", topology.cdn.origin.at)):
            if f"{routers[at]} down" not in reached:
                location: Location = ("cdn", server) if name == CDN else ("isps", name)
                what = f"no path leads from {name} to the CDN's {server} in {routers[at]}"
                hint = "write a link with relation: customer to a network that reaches it"
                yield Breach(location, what, hint, on_key=True)
                break
