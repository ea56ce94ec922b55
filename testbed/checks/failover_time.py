"""How long a player goes without data when its OCA fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Duration, show_duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class FailoverTime(Check):
    """{kind: failover-time, p95: 3s}

    From the start of the request that failed to the first byte from the next OCA, over all
    failovers of all sessions. Give one or more of `p50`, `p95` and `max`; a percentile is the
    smallest observed time that so many of all failovers do not exceed.
    """

    kind: ClassVar[str] = "failover-time"

    p50: Duration | None = None
    p95: Duration | None = None
    max: Duration | None = None

    def __post_init__(self) -> None:
        if not self._bounds():
            raise ValueError("it bounds nothing; give at least one of p50, p95 and max")

    def _bounds(self) -> dict[str, tuple[float, Duration]]:
        given = {"p50": (0.5, self.p50), "p95": (0.95, self.p95), "max": (1.0, self.max)}
        return {name: (share, bound) for name, (share, bound) in given.items() if bound is not None}

    def judge(self, tables: Tables) -> Verdict:
        """Compare the percentiles with their bounds; unknown where no player failed over."""
        bounds = self._bounds()
        wanted = ", ".join(f"{name} at most {show_duration(bound)}" for name, (_, bound) in bounds.items())
        took = [
            int(row[0])
            for row in tables.sql(
                "select cast(json_extract(detail, '$.took_ns') as bigint) as took from playback"
                " where event = 'failover' and took is not null order by took"
            )
        ]
        if not took:
            return Verdict("unknown", "", wanted, "no player failed over")
        measured = {name: stats.percentile(took, share) for name, (share, _) in bounds.items()}
        kept = all(measured[name] <= bound for name, (_, bound) in bounds.items())
        shown = ", ".join(f"{name} {stats.milliseconds(value)}" for name, value in measured.items())
        return Verdict("pass" if kept else "fail", shown, wanted, f"{len(took)} failovers")
