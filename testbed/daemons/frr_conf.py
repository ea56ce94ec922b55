"""A description in the words of FRR's processes, a file for each: who has no words does not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from testbed.daemons import frr_policy
from testbed.routing import ASIDE, CONNECTED, ORIGINATED, Bfd, Igp, Routing, Session

_S, _MS = 1_000_000_000, 1_000_000
_MIN = 60 * _S
_HOLD_S = 180  # FRR's
_RESTART_NS = 120 * _S  # the same, of a graceful restart
_RETRY_S = 10  # inside an AS the first attempt is made before OSPF knows the way
_BELOW_OSPF = 200  # distance: as BIRD's preferences have it, whatever the IGP knows is not asked of BGP

Lines = Iterator[str]


def zebra(routing: Routing) -> Lines:
    """The kernel's routes."""
    yield f"ip router-id {routing.router_id}"
    yield "no zebra nexthop kernel enable"  # routes say themselves where they lead


def staticd(routing: Routing) -> Lines:
    """The routes that drop what is not known more exactly."""
    if not routing.forwards:
        return
    yield "! what is not known more exactly is dropped"
    for prefix in routing.originates:
        yield f"{'ipv6' if ':' in prefix else 'ip'} route {prefix} blackhole"


def bfdd(routing: Routing) -> Lines:
    """BFD by profiles, which sessions and OSPF's interfaces name."""
    asked = [session.bfd for session in routing.sessions]
    asked += [link.bfd for link in routing.igp.links] if routing.igp else []
    profiles = dict.fromkeys(filter(None, asked))
    if profiles:
        yield "bfd"
    for bfd in profiles:
        yield f" profile {_profile(bfd)}"
        yield f"  detect-multiplier {bfd.multiplier}"
        yield f"  receive-interval {bfd.interval_ns // _MS}"
        yield f"  transmit-interval {bfd.interval_ns // _MS}"


def _profile(bfd: Bfd) -> str:
    return f"{bfd.multiplier}x{bfd.interval_ns // _MS}ms"


def _speaks(igp: Igp | None, family: int) -> bool:
    """Whether anybody is there to speak OSPF with."""
    return igp is not None and any(link.kind != "stub" and family in link.families for link in igp.links)


def ospfd(routing: Routing) -> Lines:
    """OSPFv2 among the routers of the AS; everything else of ours is a stub."""
    igp = routing.igp
    if igp is None or not _speaks(igp, 4):
        return
    for link in igp.links:
        if 4 in link.families:
            yield f"interface {link.interface}"
            yield " ip ospf area 0"
            yield f" ip ospf cost {link.cost}"
            yield from _kept(igp, link.kind, "ip ospf")
            if link.bfd:
                yield " ip ospf bfd"
                yield f" ip ospf bfd profile {_profile(link.bfd)}"
    yield "interface lo"
    yield " ip ospf area 0"
    yield " ip ospf passive"
    yield "router ospf"
    yield f" ospf router-id {routing.router_id}"
    if routing.multipath is not None:
        yield f" maximum-paths {routing.multipath}"


def ospf6d(routing: Routing) -> Lines:
    """OSPFv3, the same for IPv6."""
    igp = routing.igp
    if igp is None or not _speaks(igp, 6):
        return
    for link in igp.links:
        if 6 in link.families:
            yield f"interface {link.interface}"
            yield " ipv6 ospf6 area 0"
            yield f" ipv6 ospf6 cost {link.cost}"
            yield from _kept(igp, link.kind, "ipv6 ospf6")
            if link.bfd:
                yield f" ipv6 ospf6 bfd profile {_profile(link.bfd)}"
    yield "interface lo"
    yield " ipv6 ospf6 area 0"
    yield " ipv6 ospf6 cost 1"  # the least there is; OSPFv2 takes none for it
    yield " ipv6 ospf6 passive"
    yield "router ospf6"
    yield f" ospf6 router-id {routing.router_id}"
    if routing.multipath is not None:
        yield f" maximum-paths {routing.multipath}"


def _kept(igp: Igp, kind: str, ospf: str) -> Lines:
    """How an interface of OSPF's keeps its neighbours, if it is to have any."""
    if kind == "stub":
        yield f" {ospf} passive"
        return
    if kind == "point-to-point":
        yield f" {ospf} network point-to-point"
    if igp.hello_ns is not None:
        yield f" {ospf} hello-interval {igp.hello_ns // _S}"
    if igp.dead_ns is not None:
        yield f" {ospf} dead-interval {igp.dead_ns // _S}"


def bgpd(routing: Routing) -> Lines:
    """BGP: policies, then the router, its sessions, and its two families."""
    if not routing.sessions:
        return
    yield "bgp route-map delay-timer 0"  # who changes a route-map says himself who is told anew
    yield from frr_policy.local(routing)
    # before the sessions: one that names a route-map that is not there yet tells nobody anything
    for session in routing.sessions:
        yield from frr_policy.policies(routing, session)
    yield f"router bgp {routing.asn}"
    yield f" bgp router-id {routing.router_id}"
    yield " no bgp default ipv4-unicast"
    yield " no bgp network import-check"
    yield " bgp bestpath compare-routerid"
    if routing.cluster_id:
        yield f" bgp cluster-id {routing.cluster_id}"
    if routing.multipath is not None and routing.multipath > 1:
        yield " bgp bestpath as-path multipath-relax"
    yield from _restarting(routing.sessions)
    for session in routing.sessions:
        yield from (f" neighbor {session.address} {option}" for option in _options(session))
    for family in routing.families:
        yield from _family(routing, family)


def restarts_s(routing: Routing) -> int:
    """For how long neighbours keep the router's routes while it restarts; 0 if it asks none to."""
    asked = [each.graceful_restart for each in routing.sessions if each.graceful_restart]
    return max(((each.time_ns or _RESTART_NS) // _S for each in asked if each.restart), default=0)


def _restarting(sessions: Iterable[Session]) -> Lines:
    """What FRR has for all of its sessions at once: the longest times that are written for one."""
    restarts = [each.graceful_restart for each in sessions if each.graceful_restart]
    if any(each.restart for each in restarts):
        yield " bgp graceful-restart preserve-fw-state"
    if times := [each.time_ns for each in restarts if each.time_ns is not None]:
        yield f" bgp graceful-restart restart-time {max(times) // _S}"
    if times := [each.long_lived_ns for each in restarts if each.long_lived_ns is not None]:
        yield f" bgp long-lived-graceful-restart stale-time {max(times) // _S}"


def _options(session: Session) -> Lines:
    yield f"remote-as {session.asn}"
    yield f"description {session.neighbor} ({session.relation})"
    yield f"update-source {session.local_address}"
    timers = session.timers
    if timers.hold_ns is not None or timers.keepalive_ns is not None:
        hold = _HOLD_S if timers.hold_ns is None else timers.hold_ns // _S
        keepalive = hold // 3 if timers.keepalive_ns is None else timers.keepalive_ns // _S
        yield f"timers {keepalive} {hold}"
    if timers.connect_retry_ns is not None:
        yield f"timers connect {timers.connect_retry_ns // _S}"
    elif session.relation == "internal":
        yield f"timers connect {_RETRY_S}"
    if timers.advertisement_ns is not None:
        yield f"advertisement-interval {timers.advertisement_ns // _S}"
    if session.graceful_restart and session.graceful_restart.restart:
        yield "graceful-restart"
    if session.bfd:
        yield "bfd"
        yield f"bfd profile {_profile(session.bfd)}"
    if session.ttl_security:
        yield "ttl-security hops 1"
    if session.shut:
        yield "shutdown"


def _family(routing: Routing, family: int) -> Lines:
    yield f" address-family ipv{family} unicast"
    for prefix in routing.originates:
        if (":" in prefix) == (family == 6):
            yield f"  network {prefix} route-map {ORIGINATED}"
    sessions = [session for session in routing.sessions if session.family == family]
    for prefix in dict.fromkeys(prefix for session in sessions for prefix in session.more):
        yield f"  network {prefix} route-map {ASIDE}"
    if any((":" in prefix) == (family == 6) for prefix in routing.connects):
        yield f"  redistribute connected route-map {CONNECTED}{family}"
        if _speaks(routing.igp, family):
            yield f"  redistribute ospf{'6' * (family == 6)} route-map {CONNECTED}{family}"
    yield f"  distance bgp {_BELOW_OSPF} {_BELOW_OSPF} {_BELOW_OSPF}"
    yield f"  maximum-paths {routing.multipath or 1}"
    yield f"  maximum-paths ibgp {routing.multipath or 1}"
    for session in sessions:
        yield from (f"  neighbor {session.address} {option}" for option in _channel(session))
    yield " exit-address-family"


def _channel(session: Session) -> Lines:
    yield "activate"
    yield f"route-map {frr_policy.took(session)} in"
    yield f"route-map {frr_policy.told(session)} out"
    if session.next_hop_self:
        yield "next-hop-self"
    if session.reflector_client:
        yield "route-reflector-client"
    if session.server_client:
        yield "route-server-client"
    if session.maximum:
        most, again = session.maximum, session.maximum.again_ns
        action = {"warn": " warning-only", "restart": f" restart {(again or 0) // _MIN}"}
        yield f"maximum-prefix {most.prefixes}{action.get(most.action, '')} force"


# In the order in which they start: everybody asks zebra.
PROCESSES = {
    "zebra": zebra, "staticd": staticd, "bfdd": bfdd, "ospfd": ospfd, "ospf6d": ospf6d, "bgpd": bgpd,
}  # fmt: skip
