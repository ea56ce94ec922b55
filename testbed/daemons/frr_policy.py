"""A policy becomes a route-map of FRR's, and the lists that its entries ask.

Where a route comes from is a tag, which a route has inside of bgpd only: it is set where the route comes in
and asked for where it goes out. In an entry all that is asked has to hold, so a rule that asks for any of
several is as many entries. What no entry lets through is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from testbed.routing import (
    ASIDE,
    CONNECTED,
    INSIDE,
    LEARNED,
    ORIGINATED,
    Change,
    Communities,
    Policy,
    Routing,
    Rule,
    Session,
    Span,
)

TAGS = {ORIGINATED: 1, CONNECTED: 2, INSIDE: 3, LEARNED: 4, ASIDE: 5}
EMPTY = "empty"  # the list of AS paths that has the empty one
_STEP = 10  # between entries
_LISTS = {2: "community-list", 3: "large-community-list"}
_IP = {4: "ip", 6: "ipv6"}

Lines = Iterator[str]


def took(session: Session) -> str:
    """The name of the route-map of what a neighbour announces."""
    return f"from_{session.name}"


def told(session: Session) -> str:
    """The name of the route-map of what a neighbour is told."""
    return f"to_{session.name}"


def local(routing: Routing) -> Lines:
    """Route-maps of what is the router's own, by its source."""
    yield f"bgp as-path access-list {EMPTY} seq 5 permit ^$"
    yield from _own(ORIGINATED)
    if any(session.more for session in routing.sessions):
        yield from _own(ASIDE)
    for family in routing.families:
        prefixes = [each for each in routing.connects if (":" in each) == (family == 6)]
        if prefixes:
            name = f"{CONNECTED}{family}"
            yield from _prefix_list(name, family, map(Span.exactly, prefixes))
            yield from _own(CONNECTED, name, f" match {_IP[family]} address prefix-list {name}")


def _own(source: str, name: str = "", *matches: str) -> Lines:
    yield f"route-map {name or source} permit {_STEP}"
    yield from matches
    yield from (f" set tag {TAGS[source]}", " set origin igp", " set metric 0")


def policies(routing: Routing, session: Session) -> Lines:
    """The route-maps of a session."""
    tagged = (INSIDE, LEARNED) if session.relation == "internal" else (LEARNED,)
    yield f"! from {session.neighbor} ({session.relation})"
    yield from _route_map(took(session), session.takes, routing, session, tagged)
    yield f"! to {session.neighbor} ({session.relation})"
    yield from _route_map(told(session), session.sends, routing, session, ())


def _route_map(
    name: str, policy: Policy, routing: Routing, session: Session, tagged: tuple[str, ...]
) -> Lines:
    """A policy; what comes in by it is tagged with the first source that it can have."""
    lists, changes = _changes(name, policy.change, routing.asn)
    yield from lists
    if tagged and session.family == 6:  # rather than by a link-local address, which no plan knows
        changes.append("set ipv6 next-hop prefer-global")
    number = 0
    for rule in policy.rules:
        yield f"! {rule.why}"
        lists, ways = _conditions(f"{name}.{number + _STEP}", rule, session)
        yield from lists
        for matches, source in product(ways, (tagged if rule.permit else ()) or ("",)):
            number += _STEP
            yield f"route-map {name} {'permit' if rule.permit else 'deny'} {number}"
            yield from (f" {match}" for match in matches)
            if source == INSIDE:
                yield f" match as-path {EMPTY}"
            if rule.permit:
                yield from (f" {change}" for change in changes)
            if source:
                yield f" set tag {TAGS[source]}"
    if not number:
        yield f"route-map {name} deny {_STEP}"


def _conditions(name: str, rule: Rule, session: Session) -> tuple[list[str], list[list[str]]]:
    """The lists that a rule asks, and the ways in which it holds: all that each of them asks for."""
    lists: list[str] = []
    always: list[str] = []
    ip = _IP[session.family]
    if rule.prefixes is not None:
        if not rule.prefixes:
            return [], []
        lists += _prefix_list(name, session.family, rule.prefixes)
        always.append(f"match {ip} address prefix-list {name}")
    sources: list[list[str]] = []
    for source in rule.sources:
        sources.append([f"match tag {TAGS[source]}"])
        if source == ASIDE:
            aside = f"{name}.{ASIDE}"
            lists += _prefix_list(aside, session.family, map(Span.exactly, session.more))
            sources[-1].append(f"match {ip} address prefix-list {aside}")
    communities: list[list[str]] = []
    for length, kind in _LISTS.items():
        if matching := [each for each in rule.communities if len(each) == length]:
            lists += _community_list(name, length, matching)
            communities.append([f"match {kind.removesuffix('-list')} {name}"])
    ways = product(sources or [[]], communities or [[]])
    return lists, [[*always, *source, *community] for source, community in ways]


def _changes(name: str, change: Change, asn: int) -> tuple[list[str], list[str]]:
    """The lists of what is removed, and the lines of an entry that change a route, in their order."""
    lists: list[str] = []
    lines: list[str] = []
    for length, kind in _LISTS.items():
        if removed := [each for each in change.remove if len(each) == length]:
            lists += _community_list(f"{name}.off", length, removed)
            lines.append(f"set {kind.replace('community', 'comm')} {name}.off delete")
    if change.preference is not None:
        lines.append(f"set local-preference {change.preference}")
    if change.med is not None:
        lines.append(f"set metric {change.med}")
    if change.prepend:
        lines.append(f"set as-path prepend{f' {asn}' * change.prepend}")
    for length, kind in _LISTS.items():
        if added := [":".join(map(str, each)) for each in change.add if len(each) == length]:
            lines.append(f"set {kind.removesuffix('-list')} {' '.join(added)} additive")
    return lists, lines


def _prefix_list(name: str, family: int, spans: Iterable[Span]) -> Lines:
    for number, span in enumerate(spans, start=1):
        length = int(span.prefix.partition("/")[2])
        least = f" ge {span.least}" if span.least > length else ""
        most = f" le {span.most}" if span.most > max(length, span.least) else ""
        yield f"{_IP[family]} prefix-list {name} seq {number} permit {span.prefix}{least}{most}"


def _community_list(name: str, length: int, communities: Sequence[Communities]) -> Lines:
    """A list of numbers, or, as soon as any number will do, of expressions that find them between blanks."""
    exact = all(None not in each for each in communities)
    for number, community in enumerate(communities, start=1):
        text = ":".join("[0-9]+" if part is None else str(part) for part in community)
        kind, text = ("standard", text) if exact else ("expanded", f"_{text}_")
        yield f"bgp {_LISTS[length]} {kind} {name} seq {number} permit {text}"
