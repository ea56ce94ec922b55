"""A router tells a neighbour all that it knows, whoever it has it from: a route leak (RFC 7908)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.faults import Fault, NeighborName, Net, RouterName
from testbed.routing import LEARNED, OWN, Routing, Rule

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

# What the neighbour is told of while it lasts and was not before.
_LEAKED = """select distinct prefix from bgp
    where node = $1 and peer = $2 and kind = 'announce' and t_ns between $3 and $4 and prefix not in (
        select prefix from bgp where node = $1 and peer = $2 and kind = 'announce' and t_ns < $3)"""
_WITHDRAWN = """select distinct prefix from bgp
    where node = ? and peer = ? and kind = 'withdraw' and t_ns >= ?"""


@dataclass(kw_only=True)
class RouteLeak(Fault):
    """{kind: route-leak, router: north.core, neighbor: transit.a, at: 60s, lasts: 60s}

    To a provider or a peer that is a valley: routes of others come to lead through an AS that nobody pays for
    it. Providers take from a customer what it and its own customers originate, unless they
    `accept: {prefixes: any}` from it.
    """

    kind = "route-leak"
    colour = "#e6d5a8"

    router: RouterName
    neighbor: NeighborName

    def where(self) -> str:
        """The router and the neighbour that it tells."""
        return f"{self.router} to {self.neighbor}"

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Have its daemon's policy let everything out to that neighbour."""
        return net.routed(self.router, self._open)

    def took_hold(self, tables: Tables) -> bool | None:
        """The neighbour was told of prefixes that it had not been told of before."""
        return bool(self._leaked(tables))

    def healed(self, tables: Tables) -> bool | None:
        """They were withdrawn again."""
        leaked = self._leaked(tables)
        since = int(self.at + self.lasts)
        gone = {prefix for (prefix,) in tables.sql(_WITHDRAWN, self.neighbor, self.router, since)}
        return leaked <= gone if leaked else None

    def _leaked(self, tables: Tables) -> set[str]:
        when = (int(self.at), int(self.at + self.lasts))
        return {prefix for (prefix,) in tables.sql(_LEAKED, self.neighbor, self.router, *when)}

    def _open(self, routing: Routing) -> Routing:
        everything = (Rule(why="everything: a leak", sources=(*OWN, LEARNED)),)
        sessions = (
            replace(each, sends=replace(each.sends, rules=everything))
            if each.neighbor == self.neighbor
            else each
            for each in routing.sessions
        )
        return replace(routing, sessions=tuple(sessions))
