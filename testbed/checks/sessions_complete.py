"""The share of sessions that played their title to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Share

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class SessionsComplete(Check):
    """{kind: sessions-complete, min: 99%}

    A session that the scenario's end cut short counts as not complete: give the scenario the time
    its titles need.
    """

    kind: ClassVar[str] = "sessions-complete"

    min: Share

    def judge(self, tables: Tables) -> Verdict:
        """Compare the share with `min`; unknown where there was no session."""
        wanted = f"at least {stats.percent(self.min)}"
        rows = tables.sql("select session_id, outcome from sessions order by session_id")
        if not rows:
            return Verdict("unknown", "", wanted, "there was no session")
        others = [(session, outcome) for session, outcome in rows if outcome != "completed"]
        done = len(rows) - len(others)
        low, high = stats.share_interval(done, len(rows))
        detail = f"{done} of {len(rows)} sessions, 95% interval {stats.percent(low)} to {stats.percent(high)}"
        if others:
            detail += "; " + ", ".join(f"{session} {outcome}" for session, outcome in others[:5])
            detail += f" and {len(others) - 5} more" if len(others) > 5 else ""
        share = done / len(rows)
        return Verdict("pass" if share >= self.min else "fail", stats.percent(share), wanted, detail)
