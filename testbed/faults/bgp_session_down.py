"""A router's BGP sessions with a neighbour are closed by its administrator, and opened again (RFC 4486)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.faults import Fault, NeighborName, Net, RouterName
from testbed.routing import Routing

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_SAID = """select count(*) from bgp where kind = ? and t_ns between ? and ?
    and ((node = ? and peer = ?) or (peer = ? and node = ?))"""
_EVER = 2**63 - 1


@dataclass(kw_only=True)
class BgpSessionDown(Fault):
    """{kind: bgp-session-down, router: north.core, neighbor: transit.a, at: 60s, lasts: 60s}

    Those of both families; the link between the two stays as it is.
    """

    kind = "bgp-session-down"
    colour = "#d6c6e1"

    router: RouterName
    neighbor: NeighborName

    def where(self) -> str:
        """The router and its neighbour."""
        return f"{self.router} to {self.neighbor}"

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Have the router's daemon shut them."""
        return net.routed(self.router, self._shut)

    def took_hold(self, tables: Tables) -> bool | None:
        """One of the two said that it closes the session; None if nothing of it was ever captured."""
        if not self._said(tables, "keepalive", -_EVER, _EVER):
            return None
        return self._said(tables, "notification", self.at, self.at + self.lasts)

    def healed(self, tables: Tables) -> bool | None:
        """It was opened again."""
        return self._said(tables, "open", self.at + self.lasts, _EVER)

    def _shut(self, routing: Routing) -> Routing:
        sessions = (
            replace(each, shut=True) if each.neighbor == self.neighbor else each for each in routing.sessions
        )
        return replace(routing, sessions=tuple(sessions))

    def _said(self, tables: Tables, kind: str, from_ns: int, until_ns: int) -> bool:
        ends = (self.router, self.neighbor)
        return bool(tables.scalar(_SAID, kind, int(from_ns), int(until_ns), *ends, *ends))
