"""What came of a fault, step by step: from the fault to what viewers saw, each with the packets that show it.

A kind of step is one file: a class with `kind` and `steps`, found by the registry, that asks the tables of a
finished run. A step without evidence is left out: what cannot be shown is not told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from testbed import registry
from testbed.job import Fault, Job
from testbed.measure.points import owners
from testbed.measure.tables import Tables


def since(ns: int) -> str:
    """A time since a fault, as people read it: +12.30 ms, +4.05 s."""
    for unit, scale in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= scale:
            return f"+{ns / scale:.{2 if ns < 100 * scale else 1}f} {unit}"
    return f"+{ns} ns"


@dataclass(frozen=True)
class Sight:
    """A packet at one capture point; `frame` is its number in that capture file, from 1."""

    node: str
    interface: str
    link: str
    t_ns: int
    frame: int

    @property
    def capture(self) -> str:
        """The name of the capture point, and of its file in `captures/`."""
        return f"{self.node}.{self.interface}"


@dataclass(frozen=True)
class Step:
    """One thing that happened, or the first of several like it; times are since the scenario's start."""

    stage: str
    t_ns: int
    where: str
    what: str
    sights: tuple[Sight, ...] = ()
    count: int = 1  # how many like it
    last_ns: int | None = None  # when the last of them was; None if there is one

    @property
    def shown(self) -> str:
        """The packets that show it, as capture#frame."""
        return " ".join(f"{sight.capture}#{sight.frame}" for sight in self.sights)

    def until(self, at_ns: int) -> str:
        """When the last of several was, since the fault; empty if there is one."""
        return "" if self.last_ns is None else since(self.last_ns - at_ns)


@dataclass(frozen=True)
class Aftermath:
    """A fault and the steps after it in the order of time."""

    fault: Fault
    at_ns: int  # when it struck; the steps' times are told from here
    until_ns: int  # what came later is not told here: the next fault struck, or the run was over
    cut_by: int  # the number of the fault that did; 0: the run was over
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()  # kinds of steps that crashed, and how


@dataclass(frozen=True)
class Struck:
    """A fault whose steps are looked for, and the tables of its run."""

    fault: Fault
    tables: Tables
    at_ns: int
    ended_ns: int
    until_ns: int

    @property
    def job(self) -> Job:
        """The job of the run."""
        return self.tables.job

    @cached_property
    def links(self) -> tuple[str, ...]:
        """The links that it strikes: the one that is its target, or all of a node that is."""
        flipped = "--".join(reversed(self.fault.target.split("--")))
        return tuple(
            link.name
            for link in self.job.links
            if link.name in (self.fault.target, flipped) or self.fault.target in (link.a, link.b)
        )

    @cached_property
    def node(self) -> str:
        """The node that it strikes; empty if it strikes a link."""
        return self.fault.target if any(n.name == self.fault.target for n in self.job.nodes) else ""

    @cached_property
    def names(self) -> dict[str, str]:
        """The node that has each address."""
        return owners(self.job)

    @cached_property
    def packets(self) -> str:
        """The table of packets as one writes it after `from`, with `file_row_number`."""
        path = str((self.tables.run / "tables" / "packets.parquet").resolve()).replace("'", "''")
        return f"read_parquet('{path}', file_row_number = true)"

    @cached_property
    def _first_rows(self) -> dict[tuple[str, str], int]:
        rows = self.tables.sql(
            f"select node, interface, min(file_row_number) from {self.packets} group by all"
        )
        return {(node, interface): first for node, interface, first in rows}

    def sights(self, where: str, *params: object, most: int = 1, last: bool = False) -> tuple[Sight, ...]:
        """The first (or last) packets of which an SQL condition holds; none where there is no such table."""
        if not (self.tables.run / "tables" / "packets.parquet").exists():
            return ()
        rows = self.tables.sql(
            f"select node, interface, link, t_ns, file_row_number from {self.packets} where {where}"
            f" order by t_ns {'desc' if last else ''}, file_row_number limit {most}",
            *params,
        )
        return tuple(
            Sight(node, interface, link, t_ns, row - self._first_rows[node, interface] + 1)
            for node, interface, link, t_ns, row in rows
        )


class Stage(ABC):
    """A kind of step; its first docstring line says what it shows."""

    kind: ClassVar[str]

    @abstractmethod
    def steps(self, struck: Struck) -> Iterable[Step]:
        """The steps of this kind between `struck.at_ns` and `struck.until_ns`; none without evidence."""


Progress = Callable[[str, float, float], None]


def explain(tables: Tables, number: int | None = None, progress: Progress | None = None) -> list[Aftermath]:
    """What came of every fault of a run, or of the one with this number."""
    faults = sorted(tables.job.faults, key=lambda fault: (fault.at_ns, fault.id))
    wanted = [fault for fault in tables.job.faults if number in (None, fault.id)]
    found = []
    for done, fault in enumerate(wanted):
        if progress:
            progress("explain", done, len(wanted))
        found.append(_one(tables, fault, faults))
    return found


def _one(tables: Tables, fault: Fault, faults: list[Fault]) -> Aftermath:
    later = [other for other in faults if other.at_ns > fault.at_ns]
    told: dict[str, Any] = dict(
        tables.sql("select phase, min(t_ns) from events where fault = ? group by phase", fault.id)
    )
    end_ns = int(tables.scalar("select max(t_ns) from events") or 0)
    until_ns = later[0].at_ns if later else max(end_ns, tables.job.duration_ns)
    if "began" not in told:
        return Aftermath(fault, fault.at_ns, until_ns, later[0].id if later else 0)
    # What it does can show before it is noted that it began: striking takes its time.
    at_ns = max(fault.at_ns, 0)
    struck = Struck(fault, tables, at_ns, int(told.get("ended", fault.at_ns + fault.lasts_ns)), until_ns)
    order = {kind: place for place, kind in enumerate(ORDER)}
    found: list[Step] = []
    notes: list[str] = []
    for kind, stage in registry.kinds("aftermath").items():
        try:
            found += stage().steps(struck)
        except Exception as problem:  # noqa: BLE001 - one from outside may raise anything; the others still tell
            notes.append(f"{kind} crashed: {type(problem).__name__}: {problem}".partition("\n")[0])
    found.sort(key=lambda step: (step.t_ns, order.get(step.stage, len(ORDER)), step.where, step.what))
    return Aftermath(fault, at_ns, until_ns, later[0].id if later else 0, tuple(found), tuple(notes))


# What causes what, where things happen in one instant; kinds from outside come last.
ORDER = ("fault", "carrier", "path", "bfd", "bgp", "forwarding", "steering", "tcp", "requests", "player")
