"""What a run has shown: its checks' outcomes, its faults' evidence, and whether to trust it.

Judging reads the run folder and writes `verdict.json` there; it runs nothing, so any run can be judged
again, and judging twice leaves the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import evidence, registry
from testbed.evidence import FaultFinding

if TYPE_CHECKING:
    from testbed.checks import Check, Outcome
    from testbed.measure.tables import Tables

LATE_NS = 100_000_000  # a wall-clock timeline that is later than this is not the scenario's
SEVERITY: tuple[Outcome, ...] = ("pass", "unknown", "fail")
EXIT: Mapping[str, int] = {"pass": 0, "fail": 1, "unknown": 4}


@dataclass(frozen=True)
class CheckFinding:
    """What one check found."""

    kind: str
    parameters: dict[str, Any]
    outcome: Outcome
    measured: str
    wanted: str
    detail: str = ""


@dataclass(frozen=True)
class Judgement:
    """The verdict of a run, and all that led to it."""

    verdict: Outcome
    exit: int
    faults: tuple[FaultFinding, ...] = ()
    checks: tuple[CheckFinding, ...] = ()
    trust: tuple[str, ...] = field(default=())  # why the run is not to be trusted; empty: it is

    def dumps(self) -> str:
        """The judgement as JSON, byte for byte the same for equal judgements."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, run: Path) -> Judgement:
        """The judgement that `judge` left in a run folder."""
        data = json.loads((run / "verdict.json").read_text())
        return cls(
            verdict=data["verdict"],
            exit=data["exit"],
            faults=tuple(FaultFinding(**fault) for fault in data["faults"]),
            checks=tuple(CheckFinding(**check) for check in data["checks"]),
            trust=tuple(data["trust"]),
        )


def judge(run: Path) -> Judgement:
    """Judge the faults, then the checks; leaves verdict.json and the took_hold rows of the events table."""
    from testbed.measure.tables import Tables

    faults = evidence.judge(Tables(run))
    evidence.record(run, faults)
    tables = Tables(run)
    checks = [_judge(wanted, tables) for wanted in tables.job.checks]
    judgement = conclude(faults, checks, _holes(tables))
    (run / "verdict.json").write_text(judgement.dumps())
    return judgement


def conclude(
    faults: Iterable[FaultFinding], checks: Iterable[CheckFinding], holes: Iterable[str] = ()
) -> Judgement:
    """Join the findings: the worst outcome rules, and a check that passed without its fault is unknown."""
    faults, checks = tuple(faults), tuple(checks)
    missed = [
        f"fault {fault.id} never took hold"
        if fault.took_hold is False
        else f"nothing shows that fault {fault.id} took hold"
        for fault in faults
        if fault.took_hold is not True
    ]
    if missed:
        checks = tuple(_doubted(check, missed) for check in checks)
    left = [f"fault {fault.id} did not heal: {fault.detail}" for fault in faults if fault.healed is not True]
    trust = (*missed, *left, *holes)
    outcomes: list[Outcome] = [check.outcome for check in checks]
    if trust:
        outcomes.append("unknown")
    verdict: Outcome = max(outcomes, key=SEVERITY.index) if outcomes else "pass"
    return Judgement(verdict, EXIT[verdict], faults, checks, trust)


def _judge(wanted: dict[str, Any], tables: Tables) -> CheckFinding:
    kind = str(wanted["kind"])
    parameters = {name: value for name, value in wanted.items() if name != "kind" and value is not None}
    try:
        check: Check = registry.build("checks", kind, parameters)
        verdict = check.judge(tables)
    except Exception as problem:  # noqa: BLE001 - a check may raise anything, and a crash is no pass
        return CheckFinding(kind, parameters, "unknown", "", "", f"crashed: {evidence.summary(problem)}")
    return CheckFinding(kind, parameters, verdict.outcome, verdict.measured, verdict.wanted, verdict.detail)


def _doubted(check: CheckFinding, reasons: list[str]) -> CheckFinding:
    if check.outcome != "pass":
        return check
    detail = "; ".join([*reasons, *filter(None, [check.detail])])
    return dataclasses.replace(check, outcome="unknown", detail=detail)


def _holes(tables: Tables) -> Iterator[str]:
    """Why what was recorded may not be what happened."""
    yield from _late(tables)
    for place, drops, unreadable in tables.sql(
        "select node || '.' || interface as place, drops, unreadable from captures order by place"
    ):
        if drops is None:
            yield f"the capture at {place} does not say how many packets it lost"
        elif drops:
            yield f"the capture at {place} lost {drops} packets"
        if unreadable:
            yield f"the capture at {place} has {unreadable} packets that cannot be read"
    for (process,) in tables.sql(
        "select distinct target from events"
        " where fault = 0 and kind = 'process' and phase = 'ended' order by target"
    ):
        yield f"{process} ended, though nobody asked it to"


def _late(tables: Tables) -> Iterator[str]:
    """The faults that came late, as they may where time does not wait for a busy machine."""
    if tables.job.clock != "wall":
        return
    planned = {fault.id: fault.at_ns for fault in tables.job.faults}
    for fault, t_ns in tables.sql(
        "select fault, t_ns from events where fault > 0 and phase = 'began' order by fault"
    ):
        late_ns = t_ns - planned[fault]
        if late_ns > LATE_NS:
            yield f"fault {fault} struck {late_ns / 1e9:.1f} s late: too busy a machine for the wall clock"
