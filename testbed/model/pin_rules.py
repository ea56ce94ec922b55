"""The rules of what is pinned by hand: inside its prefix, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from typing import NamedTuple

from testbed.model.breach import Breach, network_at
from testbed.model.document import Location, dotted
from testbed.model.pins import Interface, Net
from testbed.model.prefixes import ANYCAST4, ANYCAST6, LanName, NoRoom, Prefixes, Prefixing, assign
from testbed.model.topology import CDN, Cdn, Exchange, Host, Isp, Oca, Switch, Topology


class Pin(NamedTuple):
    """An address pinned by hand, with the whole subnet that it takes."""

    location: Location
    address: Interface
    takes: Net
    owners: tuple[str | LanName, ...]  # the networks, or the LAN, one of whose prefixes must hold it


def pins(topology: Topology) -> Iterator[Pin]:
    """Every address pinned by hand, in the order of the file."""
    for name, known in topology.networks.items():
        start = network_at(name)
        for router, loopback in known.loopbacks.items():
            for key, address in (("address", loopback.address), ("address6", loopback.address6)):
                if address:
                    yield _alone((*start, "loopbacks", router, key), address, name)
    leaves: list[tuple[Location, str, int | None, Oca | Host]] = [
        *((("ocas", name), oca.at, None, oca) for name, oca in topology.ocas.items()),
        *((("hosts", name), host.at, host.vlan, host) for name, host in topology.hosts.items()),
    ]
    for here, at, vlan, leaf in leaves:
        for key, address in (("address", leaf.address), ("address6", leaf.address6)):
            if address and at in topology.switches:
                yield _alone((*here, key), address, (topology.segments[at], vlan or 0))
            elif address and at in topology.routers:
                pair = ip_network((address, ip_interface(address).max_prefixlen - 1), strict=False)
                yield Pin((*here, key), ip_interface(address), pair, (topology.routers[at],))
    for place, wire in enumerate(topology.links):
        location: Location = ("links", place)
        lan = next((end for end in wire.endpoints if topology.is_lan(end)), None)
        for key, address in (("address", wire.address), ("address6", wire.address6)):
            if address and lan:
                owner = (topology.segments.get(lan, lan), wire.vlan or 0)
                yield _alone((*location, key), address, owner)
        networks = tuple(topology.routers[end] for end in wire.endpoints if end in topology.routers)
        for key, ends in (("addresses", wire.addresses), ("addresses6", wire.addresses6)):
            if ends and networks and not lan:
                first = ip_interface(ends[0])
                yield Pin((*location, key), first, first.network, networks)


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the pins of a topology break."""
    prefixes = list(_prefixes(topology))
    overlaps = 0
    for place, (location, prefix) in enumerate(prefixes):
        for other, earlier in prefixes[:place]:
            if prefix.overlaps(earlier):  # two families never do
                overlaps += 1
                what = f"{prefix} overlaps with {earlier} of {dotted(other[:-1])}"
                yield Breach(location, what, "write a prefix of its own, or delete it to have one planned")
                break
    yield from _anycast(topology)
    yield from _families(topology)
    yield from _switches(topology)
    yield from _ends(topology)
    if overlaps:
        return
    try:
        assigned = assign(topology)
    except NoRoom as problem:
        group = "exchanges" if problem.owner in topology.exchanges else "isps"
        group = "switches" if problem.owner in topology.switches else group
        location = (CDN,) if problem.owner == CDN else (group, problem.owner)
        yield Breach(location, problem.why, "write a prefix for it, or use fewer", on_key=True)
        return
    yield from _addresses(topology, assigned)


def _alone(location: Location, address: str, owner: str | LanName) -> Pin:
    return Pin(location, ip_interface(address), ip_network(address), (owner,))


def _prefixes(topology: Topology) -> Iterator[tuple[Location, Net]]:
    """The prefixes pinned by hand; nobody else can overlap with any."""
    groups = (("isps", topology.isps), ("exchanges", topology.exchanges), ("switches", topology.switches))
    owners: list[tuple[Location, Isp | Exchange | Switch | Cdn]] = [
        ((group, name), owner) for group, named in groups for name, owner in named.items()
    ]
    if topology.cdn:
        owners.append(((CDN,), topology.cdn))
    for start, owner in owners:
        for key, prefix in (("prefix", owner.prefix), ("prefix6", owner.prefix6)):
            if prefix:
                yield (*start, key), ip_network(prefix)


def _anycast(topology: Topology) -> Iterator[Breach]:
    """What all OCAs have, where anycast steers, is nobody's else."""
    if topology.cdn is None or topology.cdn.steering.mode != "anycast":
        return
    for location, taken in (*_prefixes(topology), *((pin.location, pin.takes) for pin in pins(topology))):
        for shared in (ANYCAST4, ANYCAST6):
            if taken.overlaps(shared):
                what = f"{taken} overlaps with {shared}, in which all OCAs have their one address"
                yield Breach(location, what, "write another, or a mode of cdn.steering that is not anycast")


def _families(topology: Topology) -> Iterator[Breach]:
    """What is pinned is of use; an IPv4 address always is, since IPv6 ones are made from it."""
    if "ipv6" not in topology.families:
        found = [(pin.location, pin.takes) for pin in pins(topology)]
        for location, pinned in (*_prefixes(topology), *found):
            if pinned.version == 6:
                hint = f"delete {location[-1]}, or write families: [ipv4, ipv6]"
                yield Breach(location, "the topology has no IPv6", hint, on_key=True)


def _switches(topology: Topology) -> Iterator[Breach]:
    """A LAN has one prefix of a family, whichever of its switches it is written at."""
    for key in ("prefix", "prefix6"):
        said: dict[str, str] = {}
        for name, switch in topology.switches.items():
            if getattr(switch, key) and (earlier := said.setdefault(topology.segments[name], name)) != name:
                what = f"{name} is on the LAN of {earlier}, whose {key} is written there"
                yield Breach(("switches", name, key), what, f"delete {key} here", on_key=True)


def _ends(topology: Topology) -> Iterator[Breach]:
    """Pinned ends of a link are two addresses of one subnet, and only where the link has two."""
    for place, wire in enumerate(topology.links):
        lan = next((end for end in wire.endpoints if topology.is_lan(end)), None)
        for key in ("address", "address6"):
            if getattr(wire, key) and not lan:
                what = "neither end is an exchange or a switch"
                yield Breach(
                    ("links", place, key),
                    what,
                    f"write {key.replace('ss', 'sses')}: of both ends",
                    on_key=True,
                )
            elif getattr(wire, key) and all(topology.is_lan(end) for end in wire.endpoints):
                what = "a link of two switches has no address"
                yield Breach(("links", place, key), what, f"delete {key}", on_key=True)
        for key in ("addresses", "addresses6"):
            ends = getattr(wire, key)
            if not ends:
                continue
            location: Location = ("links", place, key)
            a, b = (ip_interface(end) for end in ends)
            if lan:
                what, hint = f"{lan} has no address", f"write {key.replace('sses', 'ss')}: of the other end"
                yield Breach(location, what, hint, on_key=True)
            elif a.network != b.network:
                yield Breach(
                    location, f"{a} and {b} are not of one subnet", f"write one of {a.network} second"
                )
            elif a.ip == b.ip:
                yield Breach(location, f"{a.ip} is both ends", f"write another of {a.network}")


def _addresses(topology: Topology, assigned: Prefixing) -> Iterator[Breach]:
    """Every address is in its network's or LAN's prefix, and nobody else's."""

    def of(owner: str | LanName) -> Prefixes | None:
        return assigned.networks.get(owner) if isinstance(owner, str) else assigned.lans.get(owner)

    found = list(pins(topology))
    for pin in found:
        version, owner = pin.address.version, pin.owners[0]
        held = [each.v4 if version == 4 else each.v6 for each in map(of, pin.owners) if each]
        if not held:
            continue
        example = f"write for example {next(held[0].hosts())}"
        if not any(pin.takes.subnet_of(prefix) for prefix in held):  # type: ignore[arg-type]
            names = [each if isinstance(each, str) else each[0] for each in pin.owners]
            what = f"{pin.address.ip} is not in {' or '.join(map(str, held))}, as {' or '.join(names)} is"
            key = "prefix" if version == 4 else "prefix6"
            yield Breach(pin.location, what, f"{example}, or pin the {key} of {names[0]} as well")
        elif not isinstance(owner, str) and pin.address.ip in _useless(held[0]):
            yield Breach(pin.location, f"{pin.address.ip} is no node's address in {held[0]}", example)
    yield from _overlaps(found)


def _overlaps(found: list[Pin]) -> Iterator[Breach]:
    """No address is pinned twice, and no subnet of a link overlaps with another."""
    first: dict[Net, Pin] = {}
    for pin in found:
        if (earlier := first.setdefault(pin.takes, pin)) is not pin:
            what = f"{pin.address.ip} is taken already, by {dotted(earlier.location)}"
            yield Breach(pin.location, what, "write another address")
    for version in (4, 6):
        spans = [
            (int(takes.network_address), -int(takes.broadcast_address), place)
            for place, takes in enumerate(first)
            if takes.version == version
        ]
        widest: tuple[int, int] | None = None  # the last address so far, and whose it is
        pinned = list(first.values())
        for start, end, place in sorted(spans):
            if widest and start <= widest[0]:
                one, other = (pinned[each] for each in sorted((widest[1], place)))
                what = f"{other.takes} overlaps with {one.takes} of {dotted(one.location)}"
                yield Breach(other.location, what, "write another address")
            if not widest or -end > widest[0]:
                widest = (-end, place)


def _useless(prefix: Net) -> tuple[object, ...]:
    return (
        (prefix.network_address, prefix.broadcast_address)
        if prefix.version == 4
        else (prefix.network_address,)
    )
