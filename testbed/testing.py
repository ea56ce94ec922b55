"""For testing faults and networks, ours and those of others: a fake without a kernel, and a kernel."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.faults import Cut, State
from testbed.job import OUT, Job
from testbed.kernel import build
from testbed.kernel.boot import Machine, boot
from testbed.layers import Layers
from testbed.routing import Routing
from testbed.venues.guest import begin, environment


class FakeNet(Layers):
    """A network that only remembers what is in force; it keeps the promises of `testbed.faults.Net`.

    `state()` is what a real network's state would be compared by: equal before and after a fault
    that undoes what it did.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._stops: Counter[tuple[str, str]] = Counter()
        self._files: list[tuple[str, str, str | Cut | None]] = []
        self._routed: list[tuple[str, Callable[[Routing], Routing]]] = []
        self._drains: Counter[str] = Counter()

    @contextmanager
    def stopped(self, node: str, processes: tuple[str, ...] | None = None) -> Iterator[None]:
        """Kill processes; KeyError for an unknown node or process."""
        known = [process.name for process in self.job.node(node).processes]
        names = known if processes is None else list(processes)
        if missing := [name for name in names if name not in known]:
            raise KeyError(f"{node} has no process {missing[0]}")
        self._stops.update((node, name) for name in names)
        try:
            yield
        finally:
            self._stops.subtract((node, name) for name in names)

    @contextmanager
    def frozen(self, node: str, processes: tuple[str, ...] | None = None) -> Iterator[None]:
        """Keep processes from running; KeyError for an unknown node or process."""
        with self.stopped(node, processes):  # to who looks at what runs, it is the same
            yield

    @contextmanager
    def files(self, node: str, changes: Mapping[str, str | Cut | None]) -> Iterator[None]:
        """Change files of a node; KeyError for an unknown one."""
        wanted = [(self.job.node(node).name, name, text) for name, text in changes.items()]
        self._files.extend(wanted)
        try:
            yield
        finally:
            for each in wanted:
                self._files.remove(each)

    @contextmanager
    def routed(self, router: str, change: Callable[[Routing], Routing]) -> Iterator[None]:
        """Change a router's description; KeyError for one that the job does not describe."""
        assert change(self.job.routing[router])
        entry = (router, change)
        self._routed.append(entry)
        try:
            yield
        finally:
            del self._routed[next(place for place, each in enumerate(self._routed) if each is entry)]

    @contextmanager
    def drained(self, oca: str) -> Iterator[None]:
        """Drain an OCA; KeyError for an unknown one."""
        self._drains[self.job.node(oca).name] += 1
        try:
            yield
        finally:
            self._drains[oca] -= 1

    def state(self) -> State:
        """By node: the shapes it sends with, the links it has up, and what runs on it."""
        state: State = {
            node.name: {
                "queues": [],
                "interfaces": [],
                "processes": [p.name for p in node.processes if not self._stops[node.name, p.name]],
                "files": sorted({(name, text) for where, name, text in self._files if where == node.name}),
                "routing": [self._routing(node.name)] if node.name in self.job.routing else [],
                "draining": [node.name] * bool(self._drains[node.name]),
            }
            for node in self.job.nodes
        }
        for link in self.job.links:
            for node, way in ((link.a, "forward"), (link.b, "backward")):
                state[node]["queues"].append((link.name, self.shape(link.name, way)))
                state[node]["interfaces"].append((link.name, not self.is_down(link.name)))
        return state

    def _routing(self, router: str) -> Routing:
        routing = self.job.routing[router]
        for where, change in self._routed:
            routing = change(routing) if where == router else routing
        return routing


def booted(job: Job, module: str, memory_bytes: int = 2**30) -> Iterator[dict[str, Any]]:
    """Boot a guest, call `run(job)` of a module in it, and yield what that tells as it comes.

    The module is imported in the guest with the paths of this interpreter, and talks by
    `testbed.emulate.guest.tell`. RuntimeError with all that the console said if it fails.
    """
    kernel = build.ensure(lambda *_: None)
    machine = Machine(memory_bytes=memory_bytes, clock=job.clock, seed=job.seed, epoch_ns=job.epoch_ns)
    ours = str(Path(__file__).parents[1])
    paths = os.pathsep.join(path for path in (*sys.path, ours) if Path(path).is_dir())
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="testbed-") as name:
        out, scratch = Path(name, "out"), Path(name, "scratch")
        for folder in (out, scratch):
            folder.mkdir()
        (out / "job.json").write_text(job.dumps())
        settings = environment() | {"PYTHONPATH": paths}
        with boot(kernel, machine, begin(module, mounts=(OUT,)), settings, scratch, [out]) as guest:
            assert guest.stdout is not None
            for line in guest.stdout:
                text = line.decode(errors="replace").rstrip()
                message = json.loads(text[1:]) if text.startswith("@{") else {}
                if message and "failed" not in message:
                    yield message
                    continue
                said.append(text)
        if guest.wait() != 0 or any(line.startswith("@{") for line in said):
            raise RuntimeError("\n".join(said))
