"""An OCA is drained: steering sends it no new clients, and those that it has go on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, OcaName

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_DRAINING = "select count(*) from steering where oca = ? and reason = 'draining'"
_CHOSEN = "select count(*) from steering where oca = ? and rank is not null"


@dataclass(kw_only=True)
class OcaDrain(Fault):
    """{kind: oca-drain, target: oca-n1, at: 60s, lasts: 60s}"""

    kind = "oca-drain"
    colour = "#d7e3bf"

    target: OcaName

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Ask the control plane, as an operator does."""
        return net.drained(self.target)

    def took_hold(self, tables: Tables) -> bool | None:
        """Decisions passed it over for that reason, and none chose it; None if nobody asked."""
        during = tables.during(self)
        passed_over, chosen = (during.scalar(query, self.target) for query in (_DRAINING, _CHOSEN))
        return bool(passed_over) and not chosen if passed_over or chosen else None

    def healed(self, tables: Tables) -> bool | None:
        """No decision passes it over for that reason; None if nobody asked."""
        after = tables.after(self)
        if not after.scalar("select count(*) from steering where oca = ?", self.target):
            return None
        return not after.scalar(_DRAINING, self.target)
