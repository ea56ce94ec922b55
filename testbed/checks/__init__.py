"""A check asks one question of a finished run's tables and gives a verdict.

A kind is one file: a dataclass of its bounds with the docstring's first line an example in YAML,
and `judge`. Nothing here runs the network: any run folder can be judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from testbed import stats
from testbed.units import Duration, show_duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

Outcome = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What a check found: the outcome, the number measured, what was wanted, and why."""

    outcome: Outcome
    measured: str
    wanted: str
    detail: str = ""


@dataclass(kw_only=True)
class Check:
    """What all checks have; subclasses add their bounds and set `kind`."""

    kind: ClassVar[str] = ""

    def judge(self, tables: Tables) -> Verdict:
        """Compare the tables with the bounds; with no evidence the outcome is unknown."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Percentiles(Check):
    """What checks have that bound percentiles of times: one or more of `p50`, `p95` and `max`."""

    p50: Duration | None = None
    p95: Duration | None = None
    max: Duration | None = None

    def __post_init__(self) -> None:
        if not self._bounds():
            raise ValueError("it bounds nothing; give at least one of p50, p95 and max")

    def _bounds(self) -> dict[str, tuple[float, Duration]]:
        given = {"p50": (0.5, self.p50), "p95": (0.95, self.p95), "max": (1.0, self.max)}
        return {name: (share, bound) for name, (share, bound) in given.items() if bound is not None}

    def wanted(self) -> str:
        """The bounds, in words."""
        bounds = self._bounds().items()
        return ", ".join(f"{name} at most {show_duration(bound)}" for name, (_, bound) in bounds)

    def measured(self, times_ns: Sequence[int]) -> tuple[bool, str]:
        """Whether the bounds are kept, and the percentiles in words. ValueError if there are no times."""
        bounds = self._bounds().items()
        found = {name: stats.percentile(times_ns, share) for name, (share, _) in bounds}
        shown = ", ".join(f"{name} {stats.milliseconds(value)}" for name, value in found.items())
        return all(found[name] <= bound for name, (_, bound) in bounds), shown
