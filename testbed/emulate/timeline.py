"""The timeline does each thing of a scenario at its time, and writes down what it did."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from testbed import job as jobs
from testbed.faults import Net, changes
from testbed.registry import made, sourced
from testbed.services.records import Records

Action = Callable[[], None]


class Timeline:
    """Actions by time, in nanoseconds since the scenario's start; those of one instant in order of entry."""

    def __init__(self, start_unix_ns: int) -> None:
        self._start = start_unix_ns
        self._queue: list[tuple[int, int, Action]] = []
        self._entered = 0

    def at(self, t_ns: int, action: Action) -> None:
        """Do it then; an action may add others."""
        self._entered += 1
        heapq.heappush(self._queue, (t_ns, self._entered, action))

    def run(self) -> None:
        """Do everything in its time; what comes late is done at once."""
        while self._queue:
            t_ns, _, action = heapq.heappop(self._queue)
            ahead = self._start + t_ns - time.time_ns()
            if ahead > 0:
                time.sleep(ahead / 1e9)
            action()


class Faults:
    """The scenario's faults on the timeline: each strikes, ends, and must leave no trace."""

    def __init__(self, network: Net, records: Records) -> None:
        self._network = network
        self._records = records
        self._active: dict[int, ExitStack] = {}
        self._ended: list[jobs.Fault] = []
        self._before = network.state()

    def put_on(self, timeline: Timeline) -> None:
        """Enter every fault's beginning and end."""
        for fault in self._network.job.faults:
            timeline.at(fault.at_ns, partial(self._begin, fault))
            timeline.at(fault.at_ns + fault.lasts_ns, partial(self._end, fault))
            self._note(fault, "planned", f"at {fault.at_ns / 1e9:g} s for {fault.lasts_ns / 1e9:g} s")

    def _begin(self, fault: jobs.Fault) -> None:
        self._active[fault.id] = stack = ExitStack()
        given = {"at": fault.at_ns, "lasts": fault.lasts_ns, **fault.parameters}
        stack.enter_context(made(sourced(fault.source), given).strike(self._network))
        self._note(fault, "began")

    def _end(self, fault: jobs.Fault) -> None:
        self._note(fault, "ended")
        self._active.pop(fault.id).close()
        self._ended.append(fault)
        if self._active:
            return  # the state can be compared when nothing else is in force
        left = changes(self._before, self._network.state())
        for done in self._ended:
            self._note(done, "not-healed" if left else "healed", "; ".join(left) or "state as before")
        self._ended.clear()

    def _note(self, fault: jobs.Fault, phase: str, detail: str = "") -> None:
        self._records.write(
            "events",
            time.time_ns(),
            fault=fault.id,
            kind=fault.kind,
            target=fault.target,
            phase=phase,
            detail=detail,
        )
