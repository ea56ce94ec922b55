"""The rules of routing: daemons and reflectors that exist, prefixes of one owner, words where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, cast

from testbed import registry
from testbed.daemons import Daemon
from testbed.model.bgp import Accept, Announce, BgpSpec
from testbed.model.breach import Breach, absent, network_at
from testbed.model.document import Location
from testbed.model.fields import Model
from testbed.model.prefixes import NoRoom, assign
from testbed.model.topology import Exchange, Network, Topology, Wire
from testbed.units import Duration, show_duration

Net = IPv4Network | IPv6Network

_TO_SHARE = "write anycast: true at each, or another prefix"


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the routing of a topology breaks."""
    for rule in (_daemons, _kept, _limits, _reflectors, _ospf, _origins, _links, _bilateral):
        yield from rule(topology)


def _daemons(topology: Topology) -> Iterator[Breach]:
    for name, network in topology.networks.items():
        for router in network.daemons:
            if router not in network.routers:
                location = (*network_at(name), "daemons", router)
                yield Breach(location, *_no_router(name, network, router), on_key=True)


def _no_router(name: str, network: Network, router: str) -> tuple[str, str]:
    return absent(f"router of {name} called", router, network.routers, f"write a router of {name}")


def _kept(topology: Topology) -> Iterator[Breach]:
    """Timers that go together, and nothing that a daemon has no words for."""
    known = cast("dict[str, type[Daemon]]", registry.kinds("daemons"))
    for location, spec, nodes in _specs(topology):
        if spec.hold and spec.keepalive and spec.keepalive >= spec.hold:
            what = f"{spec.keepalive.shown()} is too late for a hold time of {spec.hold.shown()}"
            yield Breach((*location, "keepalive"), what, "write a third of the hold time (RFC 4271)")
        told = {key.replace("_", "-") for key in spec.model_fields_set if getattr(spec, key) is not None}
        daemons = {topology.daemon_of(node): node for node in reversed(nodes)}
        for kind, node in sorted(daemons.items()):
            cannot = known[kind].cannot
            for key in sorted(told & cannot.keys()):
                others = [other for other, found in known.items() if key not in found.cannot]
                write = f"write daemon: {others[0]}, or delete {key}" if others else f"delete {key}"
                yield Breach((*location, key), f"{node} runs {kind}; {cannot[key]}", write, on_key=True)


def _limits(topology: Topology) -> Iterator[Breach]:
    """No number that a daemon cannot be told."""
    known = cast("dict[str, type[Daemon]]", registry.kinds("daemons"))
    said: list[tuple[Location, Model, list[str]]] = [*_specs(topology)]
    for name, network in topology.networks.items():
        routers = [f"{name}.{router}" for router in network.routers]
        if network.ospf:
            said.append(((*network_at(name), "ospf"), network.ospf, routers))
    for location, spec, nodes in said:
        for kind, node in sorted({topology.daemon_of(node): node for node in reversed(nodes)}.items()):
            for way, limit in known[kind].limits.items():
                value = _number(spec, way)
                if value is None or (limit.least <= value <= limit.most and value % limit.step == 0):
                    continue
                own, least, most, step = (
                    show_duration(each) if isinstance(value, Duration) else str(each)
                    for each in (value, limit.least, limit.most, limit.step)
                )
                stepped = f" in steps of {step}" if limit.step > 1 else ""
                what = f"{node} runs {kind}, which cannot be told {own}"
                yield Breach((*location, *way), what, f"write {least} to {most}{stepped}")


def _number(spec: Model, way: tuple[str, ...]) -> int | None:
    """What is written at a place, if anything is."""
    found: Any = spec
    for key in way:
        found = getattr(found, key.replace("-", "_"), None)
    return cast("int | None", found)


def _specs(topology: Topology) -> Iterator[tuple[Location, BgpSpec, list[str]]]:
    """Every word on how sessions are kept: where it stands, and the nodes whose sessions it is about."""
    servers = [f"{name}.rs" for name, exchange in topology.exchanges.items() if exchange.route_server]
    said: list[tuple[Location, BgpSpec | None, list[str]]] = [
        (("defaults", "bgp"), topology.defaults.bgp, [*topology.routers, *servers, *topology.ocas])
    ]
    for name, network in topology.networks.items():
        routers = [f"{name}.{router}" for router in network.routers]
        said.append(((*network_at(name), "bgp"), network.bgp, routers))
    for name, exchange in topology.exchanges.items():
        said.append((("exchanges", name, "bgp"), exchange.bgp, [f"{name}.rs"]))
        for place, pair in enumerate(exchange.bilateral):
            said.append((("exchanges", name, "bilateral", place, "bgp"), pair.bgp, list(pair.members)))
    said += [(("ocas", name, "bgp"), oca.bgp, [name, oca.at]) for name, oca in topology.ocas.items()]
    for place, wire in enumerate(topology.links):
        nodes = [f"{end}.rs" if end in topology.exchanges else end for end in wire.endpoints]
        said.append((("links", place, "bgp"), wire.bgp, nodes))
    for location, spec, nodes in said:
        if spec is not None:
            yield location, spec, [node for node in nodes if node in topology.nodes]


def _reflectors(topology: Topology) -> Iterator[Breach]:
    """Every router is a reflector or somebody's client, or it would reach none of its iBGP peers."""
    for name, network in topology.networks.items():
        here = network_at(name)
        for place, router in enumerate(network.route_reflectors or ()):
            if router not in network.routers:
                yield Breach((*here, "route-reflectors", place), *_no_router(name, network, router))
        if network.clusters is None:
            continue
        if network.route_reflectors is not None:
            what = "clusters says already who reflects"
            yield Breach((*here, "route-reflectors"), what, "delete one of the two", on_key=True)
        served = {*network.clusters, *(each for clients in network.clusters.values() for each in clients)}
        for reflector, clients in network.clusters.items():
            location: Location = (*here, "clusters", reflector)
            if reflector not in network.routers:
                yield Breach(location, *_no_router(name, network, reflector), on_key=True)
            for place, client in enumerate(clients):
                if client not in network.routers:
                    yield Breach((*location, place), *_no_router(name, network, client))
                elif client == reflector:
                    yield Breach((*location, place), f"{client} would reflect to itself", "delete it")
        for router in network.routers:
            if router not in served:
                what = f"{router} is in no cluster, and so has no path to its iBGP peers"
                first = next(iter(network.clusters))
                yield Breach((*here, "clusters"), what, f"add {router} to clusters.{first}", on_key=True)


def _ospf(topology: Topology) -> Iterator[Breach]:
    for name, network in topology.networks.items():
        spec = network.ospf
        if spec and spec.hello and spec.dead and spec.dead <= spec.hello:
            what = f"a hello each {spec.hello.shown()} comes too late for {spec.dead.shown()}"
            yield Breach((*network_at(name), "ospf", "dead"), what, "write four times the hello (RFC 2328)")


def _origins(topology: Topology) -> Iterator[Breach]:
    """A prefix has one owner, unless all of them say that it is anycast."""
    try:
        assigned = assign(topology)
    except NoRoom:
        return  # which is refused elsewhere
    owned: list[tuple[str, Net, bool]] = [
        (name, prefix, False)
        for name, prefixes in assigned.networks.items()
        for prefix in (prefixes.v4, prefixes.v6)
    ]
    owned += [
        (owner, prefix, False)
        for (owner, _), prefixes in assigned.lans.items()
        for prefix in (prefixes.v4, prefixes.v6)
    ]
    for name, network in topology.networks.items():
        for place, origin in enumerate(network.originate):
            here: Location = (*network_at(name), "originate", place)
            prefix = ip_network(origin.prefix)
            if f"ipv{prefix.version}" not in topology.families:
                what = f"the topology has no IPv{prefix.version}"
                yield Breach((*here, "prefix"), what, "write families: [ipv4, ipv6]")
            for number, router in enumerate(origin.at or ()):
                if router not in network.routers:
                    yield Breach((*here, "at", number), *_no_router(name, network, router))
            if len(origin.at or ()) > 1 and not origin.anycast:
                what = f"{origin.prefix} is to be in {len(origin.at or ())} places at once"
                yield Breach((*here, "at"), what, "write anycast: true, or one of them")
            if any(each.prefix == origin.prefix for each in network.originate[:place]):
                what = f"{name} originates {origin.prefix} already"
                yield Breach((*here, "prefix"), what, "write it once, with all routers that do under at:")
            for owner, other, shared in owned:
                if (
                    owner != name
                    and not (origin.anycast and (shared or prefix != other))
                    and prefix.version == other.version
                    and prefix.overlaps(other)
                ):
                    yield Breach((*here, "prefix"), _whose(prefix, owner, other), _TO_SHARE)
                    break
            owned.append((name, prefix, origin.anycast))


def _whose(prefix: Net, owner: str, other: Net) -> str:
    if prefix == other:
        return f"{prefix} belongs to {owner}"
    if prefix.prefixlen > other.prefixlen:
        return f"{prefix} belongs to {owner}, which has {other}"
    return f"{prefix} has {other} in it, which belongs to {owner}"


def _links(topology: Topology) -> Iterator[Breach]:
    """Words on a session stand at a link that has one, and a cost where OSPF speaks."""
    owned = known(topology)
    for place, wire in enumerate(topology.links):
        here: Location = ("links", place)
        ends = {end: topology.routers[end] for end in wire.endpoints if end in topology.routers}
        exchange = next((end for end in wire.endpoints if end in topology.exchanges), None)
        if wire.cost is not None and not _inside(topology, wire, ends):
            what = "OSPF is spoken inside a network only"
            yield Breach((*here, "cost"), what, "delete cost, or write a preference", on_key=True)
        speaks = exchange is not None or (len(ends) == 2 and len({*ends.values()}) == 2)
        for key in ("bgp", "announce", "accept"):
            if getattr(wire, key) and not speaks:
                what = "no BGP session of two networks goes over this link"
                hint = f"delete {key}, or write it at the network" if key == "bgp" else f"delete {key}"
                yield Breach((*here, key), what, hint, on_key=True)
        server = exchange if exchange and topology.exchanges[exchange].route_server else None
        yield from _policies(topology, here, wire.announce, wire.accept, list(ends), server, owned)
    for name, oca in topology.ocas.items():
        if oca.announce:
            yield from _announce(topology, ("ocas", name, "announce"), oca.announce, None, owned)


def _inside(topology: Topology, wire: Wire, ends: Mapping[str, str]) -> bool:
    switch = any(end in topology.switches for end in wire.endpoints)
    return (len(ends) == 2 and len({*ends.values()}) == 1) or (switch and len(ends) == 1)


def _bilateral(topology: Topology) -> Iterator[Breach]:
    owned = known(topology)
    for name, exchange in topology.exchanges.items():
        seen: set[frozenset[str]] = set()
        for place, pair in enumerate(exchange.bilateral):
            here: Location = ("exchanges", name, "bilateral", place)
            yield from _pair(topology, name, exchange, pair.members, here)
            if frozenset(pair.members) in seen:
                yield Breach(here, f"{' and '.join(pair.members)} have a session already", "write it once")
            seen.add(frozenset(pair.members))
            yield from _policies(topology, here, pair.announce, pair.accept, pair.members, None, owned)


def _pair(
    topology: Topology, name: str, exchange: Exchange, members: list[str], here: Location
) -> Iterator[Breach]:
    for number, member in enumerate(members):
        if member not in exchange.members:
            said = absent(f"member of {name} called", member, exchange.members, f"write a member of {name}")
            yield Breach((*here, "members", number), *said)
    routers = topology.routers
    a, b = members
    if a in routers and b in routers and routers[a] == routers[b]:
        what = f"{a} and {b} are both in {routers[a]}"
        yield Breach((*here, "members"), what, "write routers of two networks")


def known(topology: Topology) -> list[Net]:
    """All that anybody has, and so may be announced."""
    try:
        assigned = assign(topology)
    except NoRoom:
        return []
    owned = (*assigned.networks.values(), *assigned.lans.values())
    found: list[Net] = [prefix for each in owned for prefix in (each.v4, each.v6)]
    found += [ip_network(o.prefix) for network in topology.networks.values() for o in network.originate]
    return found


def _policies(
    topology: Topology, here: Location, announce: Mapping[str, Announce], accept: Mapping[str, Accept],
    ends: list[str], server: str | None, owned: list[Net],
) -> Iterator[Breach]:  # fmt: skip
    said: tuple[tuple[str, Iterable[str]], ...] = (("announce", announce), ("accept", accept))
    for key, routers in said:
        for router in routers:
            if router not in ends:
                what, hint = absent("router at this session called", router, ends, "write an endpoint")
                yield Breach((*here, key, router), what, hint, on_key=True)
    for router, words in announce.items():
        yield from _announce(topology, (*here, "announce", router), words, server, owned)


def _announce(
    topology: Topology, here: Location, words: Announce, server: str | None, owned: list[Net]
) -> Iterator[Breach]:
    for place, text in enumerate(words.prefixes if isinstance(words.prefixes, list) else ()):
        prefix = ip_network(text)
        if owned and not any(
            prefix.version == each.version and prefix.subnet_of(each)  # type: ignore[arg-type]
            for each in owned
        ):
            hint = "write one that `testbed plan --policy` shows as originated, or a part of one"
            yield Breach((*here, "prefixes", place), f"nobody has {text}", hint)
    for key, names in (("only-to", words.only_to or []), ("not-to", words.not_to)):
        if names and server is None:
            what = "there is no route server at this session that could pass it on"
            yield Breach((*here, key), what, f"delete {key}", on_key=True)
        for place, name in enumerate(names):
            if name not in topology.networks:
                yield Breach((*here, key, place), *absent("network", name, topology.networks, "write an ISP"))
