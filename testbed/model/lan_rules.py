"""The rules of LANs: VLANs that exist, switches without a loop, and routers of one network on each."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.model.breach import Breach
from testbed.model.document import Location
from testbed.model.reach import Groups
from testbed.model.topology import Topology

_VLAN_LEAST, _VLAN_MOST = 2, 4094  # 1 is that of ports without one (IEEE 802.1Q, 9.6)


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the LANs of a topology break."""
    for rule in (_declared, _vlans, _loops, _gateways):
        yield from rule(topology)


def _declared(topology: Topology) -> Iterator[Breach]:
    for name, switch in topology.switches.items():
        for place, vlan in enumerate(switch.vlans):
            here: Location = ("switches", name, "vlans", place)
            if not _VLAN_LEAST <= vlan <= _VLAN_MOST:
                hint = f"write one from {_VLAN_LEAST} to {_VLAN_MOST}"
                yield Breach(here, f"{vlan} is no VLAN of one's own", hint)
            elif vlan in switch.vlans[:place]:
                yield Breach(here, f"VLAN {vlan} is here twice", "write it once")


def _vlans(topology: Topology) -> Iterator[Breach]:
    """A VLAN is one that a switch of the LAN has; exchanges have whatever their members agree on."""
    ports: list[tuple[Location, tuple[str, ...], int | None]] = [
        (("hosts", name, "vlan"), (host.at,), host.vlan) for name, host in topology.hosts.items()
    ]
    ports += [
        (("links", place, "vlan"), tuple(wire.endpoints), wire.vlan)
        for place, wire in enumerate(topology.links)
    ]
    declared: dict[str, set[int]] = {}
    for name, first in topology.segments.items():
        declared.setdefault(first, set()).update(topology.switches[name].vlans)
    for location, ends, vlan in ports:
        bridges = [end for end in ends if topology.is_lan(end)]
        if vlan is None:
            continue
        if not bridges:
            what = "a VLAN is of a port at a switch or an exchange"
            yield Breach(location, what, "delete vlan", on_key=True)
        elif len(bridges) > 1:
            what = "a link of two switches carries all their VLANs"
            yield Breach(location, what, "delete vlan", on_key=True)
        elif bridges[0] in topology.switches and vlan not in declared[topology.segments[bridges[0]]]:
            what = f"{bridges[0]} has no VLAN {vlan}"
            yield Breach(location, what, f"add {vlan} to switches.{bridges[0]}.vlans")


def _loops(topology: Topology) -> Iterator[Breach]:
    """A loop of switches needs a spanning tree, or frames go around for ever."""
    joined = Groups(topology.switches)
    told: set[str] = set()
    for place, wire in enumerate(topology.links):
        a, b = wire.endpoints
        if a not in topology.switches or b not in topology.switches or a == b or joined.join(a, b):
            continue
        lan = topology.segments[a]
        mute = [
            name for name, of in topology.segments.items() if of == lan and not topology.switches[name].stp
        ]
        if mute and lan not in told:
            told.add(lan)
            what = f"{a} and {b} are joined already, and not all switches of the loop speak STP"
            named = ", ".join(mute[:8]) + (f" and {len(mute) - 8} more" if len(mute) > 8 else "")
            yield Breach(("links", place), what, f"write stp: true at {named}, or delete the link")


def _gateways(topology: Topology) -> Iterator[Breach]:
    """A LAN of switches belongs to one network; two meet at an exchange, or over a link of their own."""
    owners: dict[tuple[str, int | None], str] = {}
    for place, wire in enumerate(topology.links):
        a, b = wire.endpoints
        switch, router = (a, b) if a in topology.switches else (b, a)
        if switch in topology.switches and router in topology.routers:
            network = topology.routers[router]
            owner = owners.setdefault((topology.segments[switch], wire.vlan), network)
            if owner != network:
                what = f"routers of {owner} and {network} meet at {switch}, which is no exchange"
                hint = "describe it under exchanges:, or write a link of the two routers with relation:"
                yield Breach(("links", place, "endpoints"), what, hint)
