"""A check asks one question of a finished run's tables and gives a verdict.

A kind is one file: a dataclass of its bounds with the docstring's first line an example in YAML,
and `judge`. Nothing here runs the network: any run folder can be judged again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

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
