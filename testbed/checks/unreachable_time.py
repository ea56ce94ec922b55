"""For how long some router would have no way to a prefix while routing gets over a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed.checks import Check, Verdict
from testbed.checks.forwarding_loops import longest
from testbed.units import Duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class UnreachableTime(Check):
    """{kind: unreachable-time, max: 3s}

    From the forwarding tables alone, whether packets were sent or not: of the worst router and prefix.
    """

    kind: ClassVar[str] = "unreachable-time"

    max: Duration

    def judge(self, tables: Tables) -> Verdict:
        """Compare the longest with the bound; unknown where no fault changed anything."""
        return longest(tables, "lost", self.max, "is lost")
