"""How long viewers wait for the first picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Duration, show_duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class PlayDelay(Check):
    """{kind: play-delay, p95: 2s}

    From the request to play to the first frame (CTA-2066), over all sessions that saw one. Give one or more
    of `p50`, `p95` and `max`. Sessions that ended in error before it are start failures, and fail the check
    where there are more than `failures` of all.
    """

    kind: ClassVar[str] = "play-delay"

    p50: Duration | None = None
    p95: Duration | None = None
    max: Duration | None = None
    failures: int = 0

    def __post_init__(self) -> None:
        if not self._bounds():
            raise ValueError("it bounds nothing; give at least one of p50, p95 and max")

    def _bounds(self) -> dict[str, tuple[float, Duration]]:
        given = {"p50": (0.5, self.p50), "p95": (0.95, self.p95), "max": (1.0, self.max)}
        return {name: (share, bound) for name, (share, bound) in given.items() if bound is not None}

    def judge(self, tables: Tables) -> Verdict:
        """Compare the percentiles with their bounds; unknown where nobody saw a picture or failed to."""
        bounds = self._bounds()
        wanted = ", ".join(f"{name} at most {show_duration(bound)}" for name, (_, bound) in bounds.items())
        failed = int(tables.scalar("select count(*) from sessions where start_failure"))
        rows = tables.sql("select play_delay_ns from sessions where play_delay_ns is not null order by 1")
        waits = [int(row[0]) for row in rows]
        detail = f"{len(waits)} sessions, {failed} start failures"
        if not waits:
            return Verdict("fail" if failed > self.failures else "unknown", "", wanted, detail)
        measured = {name: stats.percentile(waits, share) for name, (share, _) in bounds.items()}
        kept = all(measured[name] <= bound for name, (_, bound) in bounds.items())
        shown = ", ".join(f"{name} {stats.milliseconds(value)}" for name, value in measured.items())
        return Verdict("pass" if kept and failed <= self.failures else "fail", shown, wanted, detail)
