"""Each router's sessions, policies and costs follow from the blueprint, as data for any daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from testbed.job import Interface, Node
from testbed.plan import policy
from testbed.routing import EVERYTHING, NOTHING, Igp, IgpLink, Policy, Routing, Session

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint, Neighbor

_COST_NS = 100_000  # of delay that is worth a cost of 1
_COST_MOST = 65535  # OSPF's


def describe(node: Node, plan: Blueprint) -> Routing:
    """What a node with a routing daemon is to do."""
    router = node.role == "router"
    network = plan.network_of(node.name) if router else None
    return Routing(
        node=node.name, role=node.role, asn=node.asn, router_id=_router_id(node),
        families=tuple(family for family, has in ((4, node.address), (6, node.address6)) if has),
        forwards=router,
        originates=tuple(map(str, _originates(node, plan))),
        connects=tuple(map(str, network.connects)) if network else (),
        igp=_igp(node, plan) if router else None,
        sessions=_sessions(node, plan),
    )  # fmt: skip


def _originates(node: Node, plan: Blueprint) -> Iterable[IPv4Network | IPv6Network]:
    """A router says what its network has there, an OCA the address that all of them share, if they do."""
    if node.role == "router":
        return plan.network_of(node.name).originates[node.name]
    return plan.anycast if node.role == "oca" else ()


def _router_id(node: Node) -> str:
    """The IPv4 address; where there is none, the end of the IPv6 address, which no other router has."""
    return node.address or str(IPv4Address(int(IPv6Address(node.address6)) & 0xFFFF_FFFF))


def _igp(node: Node, plan: Blueprint) -> Igp:
    """OSPF among the routers of the AS; everything else of ours is a stub. A link's cost is its delay."""
    return Igp(
        links=tuple(
            IgpLink(
                interface=interface.name, kind=_kind(node, interface, plan),
                cost=min(max(1, interface.shape.delay_ns // _COST_NS), _COST_MOST),
                families=tuple(
                    family for family, has in ((4, interface.address), (6, interface.address6)) if has
                ),
            )
            for interface in node.interfaces
        ),
        loopbacks=node.loopbacks,
    )  # fmt: skip


def _kind(node: Node, interface: Interface, plan: Blueprint) -> str:
    """What OSPF takes an interface for."""
    brothers = {*plan.network_of(node.name).routers} - {node.name}
    if interface.peer in brothers:
        return "point-to-point"  # nobody is elected: a broadcast network waits 40 s for who wants to be
    if plan.nodes[interface.peer].role == "switch" and brothers & plan.lan_of[interface.link].nodes.keys():
        return "broadcast"
    # Links to other ASes as well: who of us is asked from an address there has to know the way back.
    return "stub"


def _sessions(node: Node, plan: Blueprint) -> tuple[Session, ...]:
    sessions, names = [], Counter[str]()
    on = {
        address.partition("/")[0]: interface.name
        for interface in node.interfaces
        for address in (interface.address, interface.address6)
        if address
    }
    for neighbor in plan.neighbors[node.name]:
        name = f"{neighbor.node.replace('.', '__').replace('-', '_')}_{neighbor.family}"
        names[name] += 1
        shared = tuple(prefix for prefix in plan.anycast if prefix.version == neighbor.family)
        takes, sends = _policies(node, neighbor, shared)
        sessions.append(Session(
            name=f"{name}_{names[name]}" if names[name] > 1 else name,
            neighbor=neighbor.node, relation=neighbor.relation, family=neighbor.family, asn=neighbor.asn,
            address=neighbor.address, local_address=neighbor.local_address,
            interface=on.get(neighbor.local_address, ""), takes=takes, sends=sends,
            next_hop_self=neighbor.relation == "internal", server_client=neighbor.relation == "member",
        ))  # fmt: skip
    return tuple(sessions)


def _policies(
    node: Node, neighbor: Neighbor, anycast: tuple[IPv4Network | IPv6Network, ...]
) -> tuple[Policy, Policy]:
    """What is taken from a neighbour, and what it is told."""
    asn = node.asn
    match neighbor.relation:
        case "internal":
            return EVERYTHING, policy.WITHIN
        case "member":
            return EVERYTHING, policy.ONWARD
        case "server":  # an OCA hears, and is silent
            return EVERYTHING, policy.sends(asn, ()) if anycast else NOTHING
        case "oca":
            # One in an ISP hears what peers and providers do; one of the CDN's own sites also what the
            # CDN's peers announce, since it is there to serve them.
            shared = policy.only(policy.takes(asn, "customer"), anycast) if anycast else NOTHING
            return shared, policy.sends(asn, ("customer",) if node.isp else ("customer", "peer"))
        case "customer":
            return policy.takes(asn, "customer"), policy.sends(asn, ("customer", "peer", "provider"))
        case "peer" | "route-server":
            return policy.takes(asn, "peer"), policy.sends(asn, ("customer",))
        case "provider":
            return policy.takes(asn, "provider"), policy.sends(asn, ("customer",))
        case relation:
            raise ValueError(f"{node.name}: no policy for a neighbour that is our {relation}")
