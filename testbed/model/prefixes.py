"""Every network and LAN has a prefix of each family by its own place in the file, whatever else is there.

    10.k.0.0/16        2001:db8:k::/48         ISP number k of the file, up to 200
    100.64.0.0/10      2001:db8:k::/48         later ISPs: a /20 each
    10.201.0.0/16      2001:db8:cd::/48        the CDN
    10.208.0.0/12      2001:db8:e<x>::/48      exchange number x: a /20, of which a /24 for each LAN
    172.16.0.0/12      2001:db8:a<s>::/48      switch number s, as the first of a LAN: a /22
    10.224.0.0/11                              the VLANs that switch declares: a /24 each

In IPv6 (RFC 3849's documentation prefix) a number is written as in decimal: ISP 12 has 2001:db8:12::/48.
The 1,000th switch is b000. A LAN is the /64 number 0 there, and VLAN v the /64 whose number reads v.
Whoever would overlap with a prefix that is pinned by hand gets another, and nobody else moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Generic, TypeVar

from testbed.model.topology import CDN, Topology

_N = TypeVar("_N", IPv4Network, IPv6Network)

_WIDE_MOST, _NARROW_MOST = 200, 1024  # ISPs with a /16, and with a /20
_SWITCH_VLANS, _EXCHANGE_VLANS = 8, 15
_DOCUMENTATION = 0x20010DB8 << 96
_SPARES = 1024

# Of the CDN where its OCAs share one address: announced by each of them, and of nothing else of the plan.
ANYCAST4, ANYCAST6 = IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:ca::/48")

LanName = tuple[str, int]  # an exchange or the first switch of a LAN, and the VLAN, 0 without one


class NoRoom(ValueError):
    """A network or LAN that no prefix is left for."""

    def __init__(self, owner: str, why: str) -> None:
        super().__init__(f"{owner}: {why}")
        self.owner = owner
        self.why = why


@dataclass(frozen=True)
class Prefixes:
    """What a network or LAN has of each family."""

    v4: IPv4Network
    v6: IPv6Network


@dataclass(frozen=True)
class Prefixing:
    """The prefixes of everything in a topology."""

    networks: dict[str, Prefixes]
    lans: dict[LanName, Prefixes]


def assign(topology: Topology) -> Prefixing:
    """The prefixes of a topology; NoRoom if there are too many LANs or pins cover what is planned with."""
    owners = [*topology.networks.values(), *topology.exchanges.values(), *topology.switches.values()]
    pinned4 = [IPv4Network(owner.prefix) for owner in owners if owner.prefix]
    pinned6 = [IPv6Network(owner.prefix6) for owner in owners if owner.prefix6]
    number = {name: place for place, name in enumerate(topology.isps, start=1)} | {CDN: 0}
    unused = _NARROW_MOST - max(0, len(topology.isps) - _WIDE_MOST)
    narrow = (_v4((100 << 24) + (128 << 16) - ((place + 1) << 12), 20) for place in range(unused))
    room4 = _Room(pinned4, chain((_v4((10 << 24) + (place << 16), 16) for place in range(202, 208)), narrow))
    room6 = _Room(pinned6, (_v6(0x9000 + place, 0, 48) for place in range(_SPARES)))
    networks = {
        name: Prefixes(
            room4.place(name, known.prefix, _network4(number[name])),
            room6.place(name, known.prefix6, _network6(number[name])),
        )
        for name, known in topology.networks.items()
    }
    room4 = _Room(pinned4, (_v4((192 << 24) + (168 << 16) + (place << 10), 22) for place in range(64)))
    room6 = _Room(pinned6, (_v6(0xF000 + place, 0, 64) for place in range(_SPARES)))
    lans: dict[LanName, Prefixes] = {}
    for (name, vlan), planned in _lans(topology):
        prefix, prefix6 = _pinned_lan(topology, name) if not vlan else (None, None)
        lans[name, vlan] = Prefixes(
            room4.place(name, prefix, planned.v4), room6.place(name, prefix6, planned.v6)
        )
    return Prefixing(networks, lans)


def _network4(number: int) -> IPv4Network:
    if number <= _WIDE_MOST:
        return _v4((10 << 24) + ((number or _WIDE_MOST + 1) << 16), 16)
    return _v4((100 << 24) + (64 << 16) + ((number - _WIDE_MOST - 1) << 12), 20)


def _network6(number: int) -> IPv6Network:
    return _v6(int(str(number), 16) if number else 0xCD, 0, 48)


def _lans(topology: Topology) -> Iterator[tuple[LanName, Prefixes]]:
    """Every LAN, with the prefixes that it has unless some are pinned."""
    vlans: dict[str, list[int]] = {name: [] for name in topology.exchanges}
    for wire in topology.links:
        for end in wire.endpoints:
            if wire.vlan and end in vlans and wire.vlan not in vlans[end]:
                vlans[end].append(wire.vlan)
    for number, name in enumerate(topology.exchanges, start=1):
        base, high = (10 << 24) + (208 << 16) + ((number - 1) << 12), int(f"e{number:03d}", 16)
        yield (name, 0), Prefixes(_v4(base, 24), _v6(high, 0, 64))
        if len(vlans[name]) > _EXCHANGE_VLANS:
            raise NoRoom(name, f"has {len(vlans[name])} VLANs, where {_EXCHANGE_VLANS} have addresses")
        for place, vlan in enumerate(vlans[name], start=1):
            yield (name, vlan), Prefixes(_v4(base + (place << 8), 24), _v6(high, vlan, 64))
    seen: set[LanName] = set()
    for number, (name, switch) in enumerate(topology.switches.items()):
        first = topology.segments[name]
        high = int(f"{'ab'[(number + 1) // 1000]}{(number + 1) % 1000:03d}", 16)
        if first == name:
            yield (name, 0), Prefixes(_v4((172 << 24) + (16 << 16) + (number << 10), 22), _v6(high, 0, 64))
        for place, vlan in enumerate(switch.vlans):
            if (first, vlan) not in seen:
                seen.add((first, vlan))
                base = (10 << 24) + (224 << 16) + ((number * _SWITCH_VLANS + place) << 8)
                yield (first, vlan), Prefixes(_v4(base, 24), _v6(high, vlan, 64))


def _pinned_lan(topology: Topology, name: str) -> tuple[str | None, str | None]:
    """The prefixes pinned for a LAN by the exchange, or by any of its switches."""
    if name in topology.exchanges:
        return topology.exchanges[name].prefix, topology.exchanges[name].prefix6
    joined = [topology.switches[each] for each, first in topology.segments.items() if first == name]
    return (
        next((switch.prefix for switch in joined if switch.prefix), None),
        next((switch.prefix6 for switch in joined if switch.prefix6), None),
    )


class _Room(Generic[_N]):
    """Gives everybody the prefix that is pinned, else the planned one, else one of the spare ones."""

    def __init__(self, pinned: Iterable[_N], spare: Iterable[_N]) -> None:
        self._pinned = [(int(each.network_address), int(each.broadcast_address)) for each in pinned]
        self._spare: Iterator[_N] = iter(spare)

    def place(self, owner: str, pinned: str | None, planned: _N) -> _N:
        if pinned:
            return type(planned)(pinned)
        for prefix in chain([planned], self._spare):
            if self._is_free(prefix):
                return prefix
        raise NoRoom(owner, "no prefix is left for it beside those pinned by hand")

    def _is_free(self, prefix: _N) -> bool:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        return all(last < low or high < first for low, high in self._pinned)


def _v4(base: int, length: int) -> IPv4Network:
    return IPv4Network((base, length))


def _v6(third: int, vlan: int, length: int) -> IPv6Network:
    """2001:db8:third:vlan::, the VLAN's number written as in decimal."""
    return IPv6Network((_DOCUMENTATION + (third << 80) + (int(str(vlan), 16) << 64), length))
