"""A router announces something else to a neighbour: the levers by which a network moves traffic."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from testbed.faults import CommunityName, Fault, NeighborName, Net, Prefix, RouterName
from testbed.routing import ASIDE, NOTHING, Routing, Session, Span, parse_community

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

# What a neighbour knows at a time: of each prefix the last that it was told, if that was no withdrawal.
_KNOWN = """select prefix, as_path, med, communities from (
        select * from bgp where node = ? and peer = ? and kind in ('announce', 'withdraw') and t_ns < ?
        qualify row_number() over (partition by prefix order by t_ns desc) = 1
    ) where kind = 'announce' order by prefix"""
_HEARD = "select count(*) from bgp where node = ? and peer = ?"
_EVER = 2**63 - 1
_PREPEND_MOST = 50

Prefixed = IPv4Network | IPv6Network


@dataclass(kw_only=True)
class AnnounceChange(Fault):
    """{kind: announce-change, router: north.core, neighbor: oca-n1, at: 60s, lasts: 60s, med: 100}

    As `announce` of a topology: exactly these `prefixes` (a part of the network's own that nobody originates
    is originated for this neighbour alone; `[]` withdraws everything), the router's AS number `prepend`
    times more before the path, a `med`, `communities` beside those that are on it. What is not named stays as
    it is. Only updates are sent; the session stays.
    """

    kind = "announce-change"
    colour = "#c9d7c1"

    router: RouterName
    neighbor: NeighborName
    prefixes: tuple[Prefix, ...] | None = None
    prepend: int | None = None
    med: int | None = None
    communities: tuple[CommunityName, ...] = ()

    def __post_init__(self) -> None:
        if self.prefixes is None and self.prepend is None and self.med is None and not self.communities:
            raise ValueError("it changes nothing; give at least one of prefixes, prepend, med, communities")
        if not 0 <= (self.prepend or 0) <= _PREPEND_MOST:
            raise ValueError(
                f"nobody prepends {self.prepend} times; write a number from 0 to {_PREPEND_MOST}"
            )
        if not 0 <= (self.med or 0) < 2**32:
            raise ValueError(f"{self.med} is no MED; write a number from 0 to {2**32 - 1}")

    def where(self) -> str:
        """The router and its neighbour."""
        return f"{self.router} to {self.neighbor}"

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Have the router's daemon told anew."""
        asn = net.job.routing[self.router].asn
        announced = {
            ip_network(prefix)
            for routing in net.job.routing.values()
            if routing.asn == asn
            for prefix in (*routing.originates, *routing.connects)
        }
        return net.routed(self.router, lambda routing: self._changed(routing, announced))

    def took_hold(self, tables: Tables) -> bool | None:
        """The neighbour comes to know other routes, or of other attributes, than before."""
        return (
            None
            if self._unheard(tables)
            else self._known(tables, self.at + self.lasts) != self._before(tables)
        )

    def healed(self, tables: Tables) -> bool | None:
        """In the end it knows what it knew before; None if what that was is not known."""
        if self._unheard(tables):
            return None
        before = self._before(tables)
        return self._known(tables, _EVER) == before or (False if before else None)

    def _unheard(self, tables: Tables) -> bool:
        """Whether nothing of the session was captured."""
        return not tables.scalar(_HEARD, self.neighbor, self.router)

    def _before(self, tables: Tables) -> list[tuple[Any, ...]]:
        return self._known(tables, self.at)

    def _known(self, tables: Tables, until_ns: int) -> list[tuple[Any, ...]]:
        return tables.sql(_KNOWN, self.neighbor, self.router, int(until_ns))

    def _changed(self, routing: Routing, announced: AbstractSet[Prefixed]) -> Routing:
        sessions = (
            self._session(each, announced) if each.neighbor == self.neighbor else each
            for each in routing.sessions
        )
        return replace(routing, sessions=tuple(sessions))

    def _session(self, session: Session, announced: AbstractSet[Prefixed]) -> Session:
        sends, more = session.sends, session.more
        if self.prefixes is not None:
            listed = [each for each in self.prefixes if (":" in each) == (session.family == 6)]
            more = tuple(each for each in listed if _is_part(ip_network(each), announced))
            rules = tuple(rule for rule in sends.rules if rule.sources != (ASIDE,))
            sends = replace(sends, rules=rules).only(map(Span.exactly, listed)) if listed else NOTHING
            sends = sends.aside() if more else sends
        change = sends.change
        change = replace(
            change,
            add=(*change.add, *map(parse_community, self.communities)),
            prepend=change.prepend if self.prepend is None else self.prepend,
            med=change.med if self.med is None else self.med,
        )
        return replace(session, sends=replace(sends, change=change) if sends.rules else sends, more=more)


def _is_part(prefix: Prefixed, announced: AbstractSet[Prefixed]) -> bool:
    """Whether nobody of the AS originates a prefix, but something that it is inside of."""
    same = (each for each in announced if each.version == prefix.version)
    return prefix not in announced and any(prefix.subnet_of(each) for each in same)  # type: ignore[arg-type]
