"""Whether each fault struck and was undone, from what the run recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import polars as pl

    from testbed import job
    from testbed.faults import Fault
    from testbed.measure.tables import Tables


@dataclass(frozen=True)
class FaultFinding:
    """What became of one fault; None where nothing can be said."""

    id: int
    kind: str
    target: str
    took_hold: bool | None
    healed: bool | None
    detail: str = ""


def judge(tables: Tables) -> list[FaultFinding]:
    """Ask every fault of the job whether it took hold and whether it was undone.

    It was undone if the guest found the state as it was before and the tables, where they can say
    anything, agree.
    """
    return [_judge(fault, tables) for fault in tables.job.faults]


def _judge(planned: job.Fault, tables: Tables) -> FaultFinding:
    notes: list[str] = []

    def asked(question: str, ask: Callable[[Tables], bool | None]) -> bool | None:
        try:
            answer = ask(tables)
        except Exception as problem:  # noqa: BLE001 - a fault from outside may raise anything: no evidence
            notes.append(f"{question} crashed: {summary(problem)}")
            return None
        return None if answer is None else bool(answer)

    given = {**_in_force(planned, tables), **planned.parameters}
    try:
        fault: Fault = registry.build("faults", planned.kind, given)
    except (TypeError, ValueError) as problem:  # a kind that is not installed here, or has changed
        return FaultFinding(planned.id, planned.kind, planned.target, None, None, str(problem))
    took_hold = asked("took_hold", fault.took_hold)
    rows = tables.sql(
        "select phase, detail from events where fault = ? and phase in ('healed', 'not-healed')", planned.id
    )
    healed: bool | None = bool(rows) and all(phase == "healed" for phase, _ in rows)
    if not rows:
        notes.append("the guest did not compare the state after it with the state before")
    notes += [f"left behind: {detail}" for phase, detail in rows if phase == "not-healed"]
    if healed and asked("healed", fault.healed) is False:
        healed = False
        notes.append("the state is as before, yet the tables show it still in force")
    return FaultFinding(planned.id, planned.kind, planned.target, took_hold, healed, "; ".join(notes))


def _in_force(planned: job.Fault, tables: Tables) -> dict[str, int]:
    """From when and for how long the fault was in force, as the guest wrote down; else as planned."""
    told = dict(tables.sql("select phase, min(t_ns) from events where fault = ? group by phase", planned.id))
    at_ns = int(told.get("began", planned.at_ns))
    return {"at": at_ns, "lasts": int(told.get("ended", planned.at_ns + planned.lasts_ns)) - at_ns}


def summary(problem: Exception) -> str:
    """What an exception says, in one line."""
    return f"{type(problem).__name__}: {problem}".partition("\n")[0]


def record(run: Path, findings: Iterable[FaultFinding]) -> None:
    """Enter in the events table that faults took hold, in place of what an earlier judgement entered.

    The row stands right behind the one that says that the fault began, with its time.
    """
    import polars as pl

    path = run / "tables" / "events.parquet"
    events = pl.read_parquet(path)
    rest = events.filter(pl.col("phase") != "took_hold")
    held = [finding.id for finding in findings if finding.took_hold]
    proven = rest.filter((pl.col("phase") == "began") & pl.col("fault").is_in(held)).with_columns(
        pl.lit("took_hold").alias("phase"), pl.lit("").alias("detail")
    )
    entered = _behind(rest, proven)
    if entered.equals(events):
        return
    beside = path.with_suffix(f".{os.getpid()}.new")
    entered.write_parquet(beside, compression="zstd")
    beside.replace(path)


def _behind(rest: pl.DataFrame, proven: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    # `rest` is in the order things happened, and a stable sort keeps it so at equal times.
    return (
        pl.concat([rest.with_columns(pl.lit(0).alias("turn")), proven.with_columns(pl.lit(1).alias("turn"))])
        .sort("t_ns", "turn", maintain_order=True)
        .select(rest.columns)
    )
