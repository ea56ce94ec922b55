"""The rules of a topology that no field can tell by itself: names, references, relations, reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from testbed.model import bgp_rules, lan_rules, link_rules, path_rules, pin_rules, rpki_rules
from testbed.model.breach import Breach, absent, network_at
from testbed.model.document import Location
from testbed.model.topology import CDN, Isp, Topology, Wire


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that a topology breaks; the paths between networks are judged once all else is well."""
    found = 0
    for rule in (
        _kinds, _names, _asns, _references, _wires, _memberships,
        lan_rules.breaches, pin_rules.breaches, link_rules.breaches, bgp_rules.breaches, rpki_rules.breaches,
    ):  # fmt: skip
        for breach in rule(topology):
            found += 1
            yield breach
    if not found:
        yield from path_rules.breaches(topology)


def _kinds(topology: Topology) -> Iterator[Breach]:
    """What a topology cannot do without."""
    if not topology.networks and not topology.switches and not topology.hosts:
        yield Breach(("isps",), "there is no network", "write isps, or switches and hosts")
    if topology.ocas and not topology.cdn:
        what = "there are OCAs, but no CDN to tell clients of them"
        yield Breach(("ocas",), what, "describe it under cdn:, or delete ocas", on_key=True)


def _names(topology: Topology) -> Iterator[Breach]:
    taken: dict[str, str] = {
        **{f"{name}.resolver": f"the resolver of {name}" for name in topology.networks},
        **{f"{name}.rs": f"the route server of {name}" for name in topology.exchanges},
    }
    if topology.cdn:
        taken |= dict.fromkeys(("steering", "authority", "origin"), "a server of the CDN")
        taken[CDN] = "the CDN's network"

    def named() -> Iterator[tuple[str, Location, str]]:
        for name, known in topology.networks.items():
            start = network_at(name)
            if name != CDN:
                yield name, start, "an ISP"
            for place, router in enumerate(known.routers):
                yield f"{name}.{router}", (*start, "routers", place), "a router"
            for population in known.clients if isinstance(known, Isp) else ():
                yield f"{name}.{population}", (*start, "clients", population), "a population of clients"
        groups = (
            ("exchanges", topology.exchanges, "an exchange"), ("switches", topology.switches, "a switch"),
            ("ocas", topology.ocas, "an OCA"), ("hosts", topology.hosts, "a host"),
            ("rpki", topology.rpki, "an RPKI cache"),
        )  # fmt: skip
        for group, names, what in groups:
            for name in names:
                yield name, (group, name), what

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
    if topology.cdn:
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
    for name, network in topology.networks.items():
        start = network_at(name)
        for router in network.loopbacks:
            if router not in network.routers:
                said = absent(
                    f"router of {name} called", router, network.routers, f"write a router of {name}"
                )
                yield Breach((*start, "loopbacks", router), *said, on_key=True)
    routers = topology.routers
    places: list[tuple[Location, str]] = [
        (("ocas", name, "at"), oca.at) for name, oca in topology.ocas.items()
    ]
    places += [(("rpki", name, "at"), cache.at) for name, cache in topology.rpki.items()]
    if topology.cdn:
        places.append((("cdn", "control", "at"), topology.cdn.control.at))
        places.append((("cdn", "origin", "at"), topology.cdn.origin.at))
    places += [
        (("hosts", name, "at"), host.at)
        for name, host in topology.hosts.items()
        if host.at not in topology.switches
    ]
    for location, at in places:
        if at in topology.exchanges:
            hint = f"write a member of it: {', '.join(topology.exchanges[at].members[:8])}"
            yield Breach(location, f"{at} is an exchange, which hosts nothing", hint)
        elif at not in routers and location[0] == "hosts":
            there = (*routers, *topology.switches)
            yield Breach(location, *absent("router or switch", at, there, "write <isp>.<router> or a switch"))
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
    ends = {*topology.routers, *topology.exchanges, *topology.switches, *topology.hosts}
    seen = {
        frozenset((name, topology.port(host.at, host.vlan))): f"hosts.{name}.at"
        for name, host in topology.hosts.items()
    }
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
        joins = frozenset(topology.port(end, wire.vlan) for end in (a, b))
        if (first := seen.setdefault(joins, f"links.{place}")) != f"links.{place}":
            hint = "keep one; its rate is what both would carry"
            yield Breach((*location, "endpoints"), f"{a} and {b} are already joined by {first}", hint)
            continue
        if refusal := _unjoinable(topology, a, b):
            yield Breach((*location, "endpoints"), *refusal)
            continue
        yield from _relation(topology, wire, location)


def _unjoinable(topology: Topology, a: str, b: str) -> tuple[str, str] | None:
    """Why no link can join two nodes, and what to write instead."""
    exchange, other = (a, b) if a in topology.exchanges else (b, a)
    if exchange in topology.exchanges and other in topology.exchanges:
        return f"{a} and {b} are both exchanges", "join an exchange with a router"
    if exchange in topology.exchanges and other not in topology.routers:
        return f"{exchange} is an exchange, and {other} no router", "join an exchange with a router"
    if a in topology.hosts and b in topology.hosts:
        return f"{a} and {b} are both hosts", "join them by a switch"
    return None


def _no_end(topology: Topology, name: str, ends: Iterable[str]) -> tuple[str, str]:
    for group, leaves, what in (("ocas", topology.ocas, "an OCA"), ("rpki", topology.rpki, "an RPKI cache")):
        if name in leaves:
            hint = f"delete this link; {group}.{name}.at makes it"
            return f"{name} is {what}, which has one link, to its router", hint
    if topology.has_node(name) or name in topology.populations:
        return (
            f"{name} has one link already, to its router",
            "delete this link; links join routers, exchanges, switches and hosts",
        )
    return absent("router, exchange, switch or host", name, ends, "write <isp>.<router> or an exchange")


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
    elif a not in routers or b not in routers:
        if wire.relation is not None:
            what = f"{b if a in routers else a} is in no AS that could have a relation"
            yield Breach((*location, "relation"), what, "delete relation", on_key=True)
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
