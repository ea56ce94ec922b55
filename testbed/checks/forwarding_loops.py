"""For how long packets would go in a loop while routing gets over a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class ForwardingLoops(Check):
    """{kind: forwarding-loops, max: 50ms}

    From the forwarding tables alone, whether packets were sent or not: of the worst router and prefix.
    """

    kind: ClassVar[str] = "forwarding-loops"

    max: Duration

    def judge(self, tables: Tables) -> Verdict:
        """Compare the longest with the bound; unknown where no fault changed anything."""
        return longest(tables, "loop", self.max, "goes in a loop")


def longest(tables: Tables, what: str, most: Duration, verb: str) -> Verdict:
    """Compare the longest time that packets went wrong in a way with a bound."""
    wanted = f"at most {most.shown()}"
    rows = tables.sql(
        f"select {what}_ns, {what}_routers, fault, phase, prefix from convergence"
        f" order by {what}_ns desc, fault, phase, prefix limit 1"
    )
    if not rows:
        return Verdict("unknown", "", wanted, "no fault changed the routes to anything")
    ((took, routers, fault, phase, prefix),) = rows
    when = f"after fault {fault} {'struck' if phase == 'struck' else 'ended'}"
    detail = f"what goes to {prefix} {verb} from {routers} routers {when}" if took else f"nothing {verb}"
    return Verdict("pass" if took <= most else "fail", stats.milliseconds(took), wanted, detail)
