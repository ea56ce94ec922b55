"""Each router's sessions, policies and costs follow from the blueprint, as data for any daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from testbed.job import Interface, Node
from testbed.model.bgp import Accept, BfdSpec, OspfSpec
from testbed.plan import policy
from testbed.plan.policy import Net
from testbed.routing import (
    EVERYTHING,
    NOTHING,
    Bfd,
    Cache,
    GracefulRestart,
    Igp,
    IgpLink,
    Maximum,
    Policy,
    Routing,
    Rule,
    Session,
    Timers,
    parse_community,
)
from testbed.units import Duration

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint, Neighbor

_COST_NS = 100_000  # of delay that is worth a cost of 1
_COST_MOST = 65535  # OSPF's
RTR = 323  # RFC 8210, section 7


def describe(node: Node, plan: Blueprint) -> Routing:
    """What a node with a routing daemon is to do."""
    router = node.role == "router"
    network = plan.network_of(node.name) if router else None
    spec = plan.topology.networks[plan.homes[node.name]] if router else None
    return Routing(
        node=node.name, role=node.role, asn=node.asn, router_id=_router_id(node),
        families=tuple(family for family, has in ((4, node.address), (6, node.address6)) if has),
        daemon=plan.topology.daemon_of(node.name),
        forwards=router,
        multipath=spec.ecmp if spec else None,
        originates=tuple(map(str, _originates(node, plan))),
        connects=tuple(map(str, network.connects)) if network else (),
        igp=_igp(node, plan, spec.ospf or OspfSpec()) if spec else None,
        cluster_id=_router_id(node) if any(each.client for each in plan.neighbors[node.name]) else "",
        sessions=_sessions(node, plan), caches=_caches(node, plan),
    )  # fmt: skip


def _caches(node: Node, plan: Blueprint) -> tuple[Cache, ...]:
    """The RPKI caches of a router that hears anything from others, if its network validates."""
    if not any(_validates(node, neighbor, plan) for neighbor in plan.neighbors[node.name]):
        return ()
    caches = (plan.nodes[name] for name in plan.topology.caches_of(plan.homes[node.name]))
    return tuple(Cache(name=each.name, address=each.address or each.address6, port=RTR) for each in caches)


def _validates(node: Node, neighbor: Neighbor, plan: Blueprint) -> bool:
    """Whether what a neighbour announces is held against the ROAs: where it enters the AS."""
    outside = neighbor.relation in ("customer", "provider", "peer", "route-server")
    return node.role == "router" and outside and bool(plan.topology.caches_of(plan.homes[node.name]))


def _originates(node: Node, plan: Blueprint) -> Iterable[Net]:
    """A router says what its network has there, an OCA the address that all of them share, if they do."""
    if node.role == "router":
        return plan.network_of(node.name).originates[node.name]
    return plan.anycast if node.role == "oca" else ()


def _router_id(node: Node) -> str:
    """The IPv4 address; where there is none, the end of the IPv6 address, which no other router has."""
    return node.address or str(IPv4Address(int(IPv6Address(node.address6)) & 0xFFFF_FFFF))


def _igp(node: Node, plan: Blueprint, spec: OspfSpec) -> Igp:
    """OSPF among the routers of the AS; everything else of ours is a stub. A link's cost is its delay."""
    links = []
    for interface in node.interfaces:
        kind = _kind(node, interface, plan)
        cost = min(max(1, interface.shape.delay_ns // _COST_NS), _COST_MOST)
        links.append(IgpLink(
            interface=interface.name, kind=kind, cost=plan.costs.get(interface.link, cost),
            families=tuple(
                family for family, has in ((4, interface.address), (6, interface.address6)) if has
            ),
            bfd=_bfd(spec.bfd) if kind != "stub" else None,
        ))  # fmt: skip
    hello_ns, dead_ns = (None if each is None else int(each) for each in (spec.hello, spec.dead))
    return Igp(links=tuple(links), loopbacks=node.loopbacks, hello_ns=hello_ns, dead_ns=dead_ns)


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
        inside = neighbor.relation == "internal"
        takes = _taken(node, neighbor, plan)
        if _validates(node, neighbor, plan):
            takes = policy.validated(takes)
        sends, more = _told(node, neighbor, plan)
        bgp, most = neighbor.bgp, neighbor.bgp.max_prefix
        sessions.append(Session(
            name=f"{name}_{names[name]}" if names[name] > 1 else name,
            neighbor=neighbor.node, relation=neighbor.relation, family=neighbor.family, asn=neighbor.asn,
            address=neighbor.address, local_address=neighbor.local_address,
            interface=on.get(neighbor.local_address, ""), takes=takes, sends=sends, more=more,
            maximum=None if inside or most is None else Maximum(
                prefixes=most.prefixes, action=most.action, again_ns=_ns(most.again)
            ),
            timers=Timers(
                hold_ns=_ns(bgp.hold), keepalive_ns=_ns(bgp.keepalive),
                connect_retry_ns=_ns(bgp.connect_retry), advertisement_ns=_ns(bgp.advertisement_interval),
            ),
            graceful_restart=None if bgp.graceful_restart is None else GracefulRestart(
                restart=bgp.graceful_restart.restart, time_ns=_ns(bgp.graceful_restart.time),
                long_lived_ns=_ns(bgp.graceful_restart.long_lived),
            ),
            bfd=_bfd(bgp.bfd), ttl_security=not inside and bool(bgp.ttl_security),
            next_hop_self=inside, reflector_client=neighbor.client,
            server_client=neighbor.relation == "member",
        ))  # fmt: skip
    return tuple(sessions)


def _ns(time: Duration | None) -> int | None:
    return None if time is None else int(time)


def _bfd(spec: BfdSpec | None) -> Bfd | None:
    return None if spec is None else Bfd(interval_ns=int(spec.interval), multiplier=spec.multiplier)


def _taken(node: Node, neighbor: Neighbor, plan: Blueprint) -> Policy:
    """What is taken from a neighbour, and what becomes of it."""
    shared = tuple(prefix for prefix in plan.anycast if prefix.version == neighbor.family)
    match neighbor.relation:
        case "internal" | "member" | "server":
            return EVERYTHING
        case "oca":
            return policy.takes(node.asn, "customer").only(policy.exactly(shared)) if shared else NOTHING
        case "customer" | "provider":
            found = policy.takes(node.asn, neighbor.relation)
        case "peer" | "route-server":
            found = policy.takes(node.asn, "peer")
        case relation:
            raise ValueError(f"{node.name}: no policy for a neighbour that is our {relation}")
    said = neighbor.accept or Accept()
    if said.preference is not None:
        found = replace(found, change=replace(found.change, preference=said.preference))
    if isinstance(said.prefixes, list):
        return found.only(policy.inside(policy.nets(said.prefixes, neighbor.family)))
    if said.prefixes is None and neighbor.relation == "customer":
        cone = (each for each in plan.cones[plan.homes[neighbor.node]] if each.version == neighbor.family)
        found = replace(found, rules=(Rule(why="what the customer and its own customers originate"),))
        return found.only(policy.registered((*cone, *shared)))
    return found


def _told(node: Node, neighbor: Neighbor, plan: Blueprint) -> tuple[Policy, tuple[str, ...]]:
    """What a neighbour is told, and what is originated for it alone."""
    asn, said = node.asn, neighbor.announce
    match neighbor.relation:
        case "internal":
            return policy.WITHIN, ()
        case "member":
            return policy.passed_on(asn, neighbor.asn), ()
        case "server":  # an OCA hears, and is silent
            return (policy.sends(asn, ()) if plan.anycast else NOTHING), ()
        case "oca":
            # One in an ISP hears what peers and providers do; one of the CDN's own sites also what the
            # CDN's peers announce, since it is there to serve them.
            found = policy.sends(asn, ("customer",) if node.isp else ("customer", "peer"))
        case "customer":
            found = policy.sends(asn, ("customer", "peer", "provider"))
        case _:
            found = policy.sends(asn, ("customer",))
    if said is None:
        return found, ()
    asns = {name: network.asn for name, network in plan.networks.items()}
    control = policy.steered(
        neighbor.asn, None if said.only_to is None else map(asns.__getitem__, said.only_to),
        map(asns.__getitem__, said.not_to),
    ) if neighbor.relation == "route-server" else ()  # fmt: skip
    found = replace(found, change=replace(
        found.change, med=said.med, prepend=said.prepend,
        add=(*found.change.add, *map(parse_community, said.communities), *control),
    ))  # fmt: skip
    if said.prefixes == "all":
        return found, ()
    listed = policy.nets(said.prefixes, neighbor.family)
    if not listed:
        return NOTHING, ()
    network = plan.network_of(node.name)
    more = tuple(str(each) for each in listed if network.is_part(each))
    found = found.only(policy.exactly(listed))
    return (found.aside() if more else found), more
