"""A router originates prefixes that belong to somebody else, and draws their traffic to itself."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, Prefix, RouterName
from testbed.routing import Routing

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_TOLD = """select count(*) from bgp
    where peer = ? and kind = ? and list_contains(?, prefix) and t_ns between ? and ?"""
_EVER = 2**63 - 1


@dataclass(kw_only=True)
class PrefixHijack(Fault):
    """{kind: prefix-hijack, router: south.core, at: 60s, lasts: 60s, prefixes: [10.1.64.0/22]}

    Of the owner's own prefix a part of the Internet follows, of one inside of it everybody. Providers take
    from a customer what it and its own customers originate, unless they `accept: {prefixes: any}` from it.
    """

    kind = "prefix-hijack"
    colour = "#e8b4a8"

    router: RouterName
    prefixes: tuple[Prefix, ...]

    def __post_init__(self) -> None:
        if not self.prefixes:
            raise ValueError("it hijacks nothing; write prefixes: [10.1.64.0/22]")

    def where(self) -> str:
        """The router that does it."""
        return self.router

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Have its daemon originate them, too."""
        return net.routed(self.router, self._with)

    def took_hold(self, tables: Tables) -> bool | None:
        """A neighbour was told of one of them; whether it believed it is another matter."""
        return bool(self._told(tables, "announce", self.at, self.at + self.lasts))

    def healed(self, tables: Tables) -> bool | None:
        """And it was withdrawn, or replaced by another way to where it belongs."""
        said = sum(self._told(tables, kind, self.at + self.lasts, _EVER) for kind in ("withdraw", "announce"))
        return bool(said) if self.took_hold(tables) else None

    def _with(self, routing: Routing) -> Routing:
        more = tuple(each for each in self.prefixes if each not in routing.originates)
        return replace(routing, originates=routing.originates + more)

    def _told(self, tables: Tables, kind: str, from_ns: int, until_ns: int) -> int:
        told = tables.scalar(_TOLD, self.router, kind, list(self.prefixes), int(from_ns), int(until_ns))
        return int(str(told))
