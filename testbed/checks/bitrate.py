"""The bitrate that viewers saw, averaged over the time they played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from testbed import stats
from testbed.checks import Check, Verdict
from testbed.units import Rate, show_rate

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class Bitrate(Check):
    """{kind: bitrate, min: 750kbit}

    Weighted by time played, as CTA-2066 counts it. `over: all` averages over everything played; `over: each`
    asks it of every session by itself and reports the worst.
    """

    kind: ClassVar[str] = "bitrate"

    min: Rate
    over: Literal["all", "each"] = "all"

    def judge(self, tables: Tables) -> Verdict:
        """Compare with `min`; unknown where nothing was played."""
        wanted = f"at least {self.min.shown()}"
        rows = tables.sql(
            "select session_id, bitrate_kbps, played_ns from sessions"
            " where bitrate_kbps is not null order by session_id"
        )
        if not rows:
            return Verdict("unknown", "", wanted, "no session played anything")
        worst, session = min((float(row[1]), row[0]) for row in rows)
        if self.over == "each":
            measured, detail = worst, f"worst of {len(rows)} sessions: {session}"
        else:
            played = [int(row[2]) for row in rows]
            carried = [round(float(row[1]) * ns) for row, ns in zip(rows, played, strict=True)]
            low, high = stats.ratio_interval(carried, played)
            measured = sum(carried) / sum(played)
            detail = (
                f"{len(rows)} sessions, 95% bootstrap interval {_shown(low)} to {_shown(high)};"
                f" worst {session} with {_shown(worst)}"
            )
        return Verdict("pass" if measured * 1000 >= self.min else "fail", _shown(measured), wanted, detail)


def _shown(kbps: float) -> str:
    return show_rate(round(kbps) * 1000)
