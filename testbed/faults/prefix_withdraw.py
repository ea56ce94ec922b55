"""A router no longer originates prefixes of its network, and they are withdrawn everywhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, Prefix, RouterName
from testbed.routing import Routing

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_TOLD = "select distinct prefix from bgp where peer = ? and kind = ? and t_ns between ? and ?"
_EVER = 2**63 - 1


@dataclass(kw_only=True)
class PrefixWithdraw(Fault):
    """{kind: prefix-withdraw, router: north.core, at: 60s, lasts: 60s, prefixes: [10.1.0.0/18]}

    Without `prefixes`, all that the router originates.
    """

    kind = "prefix-withdraw"
    colour = "#b7c9e2"

    router: RouterName
    prefixes: tuple[Prefix, ...] | None = None

    def where(self) -> str:
        """The router."""
        return self.router

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Have its daemon originate what is left."""
        return net.routed(self.router, self._without)

    def took_hold(self, tables: Tables) -> bool | None:
        """It withdrew each of the prefixes that it had announced to a neighbour; None if it had none."""
        announced = self._among(tables, "announce", -_EVER, self.at)
        if not announced:
            return None
        return announced <= self._among(tables, "withdraw", self.at, self.at + self.lasts)

    def healed(self, tables: Tables) -> bool | None:
        """It announced them again."""
        withdrawn = self._among(tables, "withdraw", self.at, self.at + self.lasts)
        return (
            withdrawn <= self._among(tables, "announce", self.at + self.lasts, _EVER) if withdrawn else None
        )

    def _without(self, routing: Routing) -> Routing:
        gone = (*routing.originates, *routing.connects) if self.prefixes is None else self.prefixes
        return replace(
            routing,
            originates=tuple(each for each in routing.originates if each not in gone),
            connects=tuple(each for each in routing.connects if each not in gone),
        )

    def _among(self, tables: Tables, kind: str, from_ns: int, until_ns: int) -> set[str]:
        """Those of its own prefixes that it said so of to anybody."""
        routing = tables.job.routing[self.router]
        own = {*routing.originates, *routing.connects} - {*self._without(routing).originates}
        told = {prefix for (prefix,) in tables.sql(_TOLD, self.router, kind, int(from_ns), int(until_ns))}
        return told & own
