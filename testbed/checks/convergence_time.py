"""How long routing needs after each fault, and after it has ended, until nothing changes any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_LAST = {"data": "last_route_ns", "control": "last_update_ns", "packets": "probes_settled_ns"}


@dataclass(kw_only=True)
class ConvergenceTime(Check):
    """{kind: convergence-time, max: 5s, plane: data}

    Until the last change of a forwarding table (`data`), the last BGP message about a prefix (`control`), or
    the last of the scenario's probes that went another way than those after it (`packets`).
    """

    kind: ClassVar[str] = "convergence-time"

    max: Duration
    plane: Literal["data", "control", "packets"] = "data"

    def judge(self, tables: Tables) -> Verdict:
        """Compare the longest with the bound; unknown where no fault changed anything."""
        wanted = f"at most {self.max.shown()}"
        last = _LAST[self.plane]
        rows = tables.sql(
            f"select {last}, fault, phase, prefix from convergence where {last} is not null"
            f" order by {last} desc, fault, phase, prefix limit 1"
        )
        if not rows and self.plane == "packets":
            return Verdict("unknown", "", wanted, "no probes were sent; write probes: in the scenario")
        if not rows:
            return Verdict("unknown", "", wanted, "no fault changed the routes to anything")
        ((took, fault, phase, prefix),) = rows
        detail = f"{prefix} after fault {fault} {'struck' if phase == 'struck' else 'ended'}"
        return Verdict("pass" if took <= self.max else "fail", stats.milliseconds(took), wanted, detail)
