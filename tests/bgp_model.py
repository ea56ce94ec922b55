"""BGP without daemons: descriptions of routers are carried out, round after round, until nothing changes.

It knows of sessions and policies only what `testbed.routing` says, so what it finds is what the descriptions
mean. Sessions are up, messages take no time, and the IGP reaches everybody in an AS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from testbed.routing import (
    ASIDE,
    CONNECTED,
    INSIDE,
    INVALID,
    LEARNED,
    ORIGINATED,
    Change,
    Communities,
    Community,
    Policy,
    Routing,
    Rule,
    Session,
)

_ROUNDS_MOST = 200
_PREFERENCE = 100  # where no policy says


@dataclass(frozen=True)
class Route:
    """A route as a router has it; `by` is the neighbour it came from, empty for its own."""

    prefix: str
    path: tuple[int, ...] = ()
    communities: frozenset[Community] = frozenset()
    preference: int = _PREFERENCE
    med: int = 0
    by: str = ""
    session: Session | None = None
    source: str = ORIGINATED
    originator: str = ""  # that brought it into the AS, where a reflector passed it on (RFC 4456)
    reflectors: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[object, ...]:
        """What RFC 4271, section 9.1.2, compares, the best first; a neighbour is known by its address."""
        session = self.session
        outside = session is not None and session.relation != "internal"
        address = int(ip_address(session.address)) if session else 0
        return (
            session is not None, -self.preference, len(self.path), self.med, not outside,
            self.originator or self.by, len(self.reflectors), address,
        )  # fmt: skip


@dataclass(frozen=True)
class Roa:
    """What every RPKI cache knows: who may originate a prefix, and those inside of it up to a length."""

    prefix: str
    longest: int
    asn: int


def converged(routers: Iterable[Routing], roas: Iterable[Roa] = ()) -> dict[str, dict[str, Route]]:
    """The best route to each prefix at each router; AssertionError if it never settles."""
    known = tuple(roas)
    every = {routing.node: routing for routing in routers}
    best: dict[str, dict[str, Route]] = {node: _own(routing) for node, routing in every.items()}
    for _ in range(_ROUNDS_MOST):
        new = {node: _chosen(routing, every, best, known) for node, routing in every.items()}
        if new == best:
            return best
        best = new
    raise AssertionError(f"not settled after {_ROUNDS_MOST} rounds")


def _own(routing: Routing) -> dict[str, Route]:
    own = {prefix: Route(prefix, source=CONNECTED) for prefix in routing.connects}
    return own | {prefix: Route(prefix) for prefix in routing.originates}


def _chosen(
    routing: Routing,
    every: Mapping[str, Routing],
    best: Mapping[str, Mapping[str, Route]],
    roas: tuple[Roa, ...],
) -> dict[str, Route]:
    found = {prefix: [route] for prefix, route in _own(routing).items()}
    for session in routing.sessions:
        other = every[session.neighbor]
        (theirs,) = (
            each
            for each in other.sessions
            if (each.address, each.local_address) == (session.local_address, session.address)
        )
        for route in _told(other, theirs, best[other.node]):
            taken = _passed(session.takes, route, routing.asn, "", roas if routing.caches else ())
            inside = session.relation == "internal"
            if inside and (route.originator == routing.node or routing.node in route.reflectors):
                continue
            if taken is not None and (routing.asn not in taken.path or inside):
                source = LEARNED if taken.path else INSIDE
                known = replace(taken, by=session.neighbor, session=session, source=source)
                found.setdefault(route.prefix, []).append(known)
    return {prefix: min(routes, key=lambda route: route.rank) for prefix, routes in found.items()}


def _told(routing: Routing, session: Session, best: Mapping[str, Route]) -> Iterable[Route]:
    """What a router tells over a session, as it looks when it gets there."""
    inside = session.relation == "internal"
    aside = [Route(prefix, source=ASIDE) for prefix in session.more]
    for route in (*best.values(), *aside):
        if (":" in route.prefix) != (session.family == 6) or route.by == session.neighbor:
            continue
        from_inside = route.session is not None and route.session.relation == "internal"
        reflects = session.reflector_client or bool(route.session and route.session.reflector_client)
        if inside and from_inside and not reflects:
            continue
        told = _passed(session.sends, route, routing.asn, route.source)
        if told is None:
            continue
        if inside and from_inside:
            originator = route.originator or route.by
            yield replace(told, originator=originator, reflectors=(*route.reflectors, routing.node))
        elif inside:
            yield told
        elif session.server_client:
            yield Route(told.prefix, told.path, told.communities, med=told.med)
        else:
            med = told.med if session.sends.change.med is not None else 0
            path = (routing.asn, *told.path)
            yield Route(told.prefix, path, told.communities, med=med)


def _passed(policy: Policy, route: Route, asn: int, source: str, roas: tuple[Roa, ...] = ()) -> Route | None:
    """A route that a policy has let through, changed; None if it has not."""
    for rule in policy.rules:
        if _holds(rule, route, source) and (not rule.validity or rule.validity == validity(route, roas)):
            return _changed(policy.change, route, asn) if rule.permit else None
    return None


def validity(route: Route, roas: Iterable[Roa]) -> str:
    """What the ROAs make of a route (RFC 6811, section 2)."""
    prefix = ip_network(route.prefix)
    covering = [
        roa for roa in roas
        if (span := ip_network(roa.prefix)).version == prefix.version and prefix.subnet_of(span)
    ]  # fmt: skip
    if not covering:
        return "not-found"
    match = any(roa.asn == route.path[-1] and prefix.prefixlen <= roa.longest for roa in covering)
    return "valid" if match else INVALID


def _holds(rule: Rule, route: Route, source: str) -> bool:
    if rule.sources and source not in rule.sources:
        return False
    if source == ASIDE and not rule.sources:
        return False
    if rule.communities and not any(_like(c, mask) for c in route.communities for mask in rule.communities):
        return False
    if rule.prefixes is None:
        return True
    prefix = ip_network(route.prefix)
    return any(
        prefix.version == (span := ip_network(each.prefix)).version
        and prefix.subnet_of(span)
        and each.least <= prefix.prefixlen <= each.most
        for each in rule.prefixes
    )


def _like(community: Community, mask: Communities) -> bool:
    return len(community) == len(mask) and all(
        wanted in (None, number) for number, wanted in zip(community, mask, strict=True)
    )


def _changed(change: Change, route: Route, asn: int) -> Route:
    kept = {c for c in route.communities if not any(_like(c, mask) for mask in change.remove)}
    return replace(
        route,
        communities=frozenset(kept | {*change.add}),
        preference=route.preference if change.preference is None else change.preference,
        med=route.med if change.med is None else change.med,
        path=(*(asn,) * change.prepend, *route.path),
    )
