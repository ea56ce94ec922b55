"""How long a player goes without data when its OCA fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed.checks import Percentiles, Verdict

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class FailoverTime(Percentiles):
    """{kind: failover-time, p95: 3s}

    From the start of the request that failed to the first byte from the next OCA, over all
    failovers of all sessions. Give one or more of `p50`, `p95` and `max`; a percentile is the
    smallest observed time that so many of all failovers do not exceed.
    """

    kind: ClassVar[str] = "failover-time"

    def judge(self, tables: Tables) -> Verdict:
        """Compare the percentiles with their bounds; unknown where no player failed over."""
        took = [
            int(row[0])
            for row in tables.sql(
                "select cast(json_extract(detail, '$.took_ns') as bigint) as took from playback"
                " where event = 'failover' and took is not null order by took"
            )
        ]
        if not took:
            return Verdict("unknown", "", self.wanted(), "no player failed over")
        kept, measured = self.measured(took)
        return Verdict("pass" if kept else "fail", measured, self.wanted(), f"{len(took)} failovers")
