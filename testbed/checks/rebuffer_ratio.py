"""The share of viewing time that viewers spent waiting for a stalled picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Share

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class RebufferRatio(Check):
    """{kind: rebuffer-ratio, max: 0.5%}

    Rebuffering time over rebuffering plus playing time, as CTA-2066 counts it: the wait before the
    first frame is not part of it. `over: all` adds the sessions up; `over: each` asks it of every
    session by itself and reports the worst.
    """

    kind: ClassVar[str] = "rebuffer-ratio"

    max: Share
    over: Literal["all", "each"] = "all"

    def judge(self, tables: Tables) -> Verdict:
        """Compare the ratio with `max`; unknown where nobody saw a first frame."""
        wanted = f"at most {stats.percent(self.max)}"
        rows = tables.sql(
            "select session_id, rebuffer_ns, played_ns from sessions"
            " where rebuffer_ns + played_ns > 0 order by session_id"
        )
        if not rows:
            return Verdict("unknown", "", wanted, "no session played anything")
        waited = [int(row[1]) for row in rows]
        viewed = [int(row[1]) + int(row[2]) for row in rows]
        worst, session = max((a / b, row[0]) for a, b, row in zip(waited, viewed, rows, strict=True))
        if self.over == "each":
            ratio, detail = worst, f"worst of {len(rows)} sessions: {session}"
        else:
            low, high = stats.ratio_interval(waited, viewed)
            ratio = sum(waited) / sum(viewed)
            detail = (
                f"{len(rows)} sessions, 95% bootstrap interval {stats.percent(low)} to {stats.percent(high)};"
                f" worst {session} with {stats.percent(worst)}"
            )
        return Verdict("pass" if ratio <= self.max else "fail", stats.percent(ratio), wanted, detail)
