"""The quality of experience of viewers in one number: bitrate, less its changes, less waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed import stats
from testbed.checks import Check, Verdict

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class Qoe(Check):
    """{kind: qoe, min: 0.5}

    QoE_lin of Yin et al. (SIGCOMM 2015) a segment, in Mbit/s, the mean of all sessions: the bitrate, less
    once its change, less 3 Mbit/s times the seconds stalled and those to the first frame. A session without
    a segment counts nothing here: `play-delay` tells start failures.
    """

    kind: ClassVar[str] = "qoe"

    min: float

    def judge(self, tables: Tables) -> Verdict:
        """Compare the mean with `min`; unknown without a session that got a segment."""
        wanted = f"at least {self.min:g}"
        rows = tables.sql("select qoe_lin from sessions where qoe_lin is not null order by session_id")
        values = [float(row[0]) for row in rows]
        if not values:
            return Verdict("unknown", "", wanted, "no session got a segment")
        mean = sum(values) / len(values)
        low, high = stats.mean_interval(values)
        detail = f"{len(values)} sessions, 95% bootstrap interval {low:.2f} to {high:.2f}"
        return Verdict("pass" if mean >= self.min else "fail", f"{mean:.2f}", wanted, detail)
