"""How long viewers wait for the first picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed.checks import Percentiles, Verdict

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class PlayDelay(Percentiles):
    """{kind: play-delay, p95: 2s}

    From the request to play to the first frame (CTA-2066), over all sessions that saw one. Give one or more
    of `p50`, `p95` and `max`. Sessions that ended in error before it are start failures, and fail the check
    where there are more than `failures` of all.
    """

    kind: ClassVar[str] = "play-delay"

    failures: int = 0

    def judge(self, tables: Tables) -> Verdict:
        """Compare the percentiles with their bounds; unknown where nobody saw a picture or failed to."""
        failed = int(tables.scalar("select count(*) from sessions where start_failure"))
        rows = tables.sql("select play_delay_ns from sessions where play_delay_ns is not null order by 1")
        waits = [int(row[0]) for row in rows]
        detail = f"{len(waits)} sessions, {failed} start failures"
        if not waits:
            return Verdict("fail" if failed > self.failures else "unknown", "", self.wanted(), detail)
        kept, measured = self.measured(waits)
        return Verdict(
            "pass" if kept and failed <= self.failures else "fail", measured, self.wanted(), detail
        )
