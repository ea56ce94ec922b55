"""Fakes for testing faults without a kernel, for us and for whoever writes a fault of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed.faults import State, layered
from testbed.job import Job, Shape


class FakeNet:
    """A network that only remembers what is in force; it keeps the promises of `testbed.faults.Net`.

    `state()` is what a real network's state would be compared by: equal before and after a fault
    that undoes what it did.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._layers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._downs: Counter[str] = Counter()
        self._stops: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def shaped(self, link: str, direction: str = "both", **change: Any) -> Iterator[None]:
        """Change fields of a link's shape; KeyError for an unknown link, TypeError for an unknown field."""
        found = self.job.link(link)
        layered(found.a_to_b, [change])
        ways = [way for way in ("forward", "backward") if direction in ("both", way)]
        for way in ways:
            self._layers.setdefault((found.name, way), []).append(change)
        try:
            yield
        finally:
            for way in ways:
                layers = self._layers[found.name, way]
                del layers[next(i for i, layer in enumerate(layers) if layer is change)]

    @contextmanager
    def down(self, link: str) -> Iterator[None]:
        """Take a link down; KeyError for an unknown one."""
        name = self.job.link(link).name
        self._downs[name] += 1
        try:
            yield
        finally:
            self._downs[name] -= 1

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

    def shape(self, link: str, direction: str) -> Shape:
        """The shape in force for one direction of a link, `forward` or `backward`."""
        found = self.job.link(link)
        planned = found.a_to_b if direction == "forward" else found.b_to_a
        return layered(planned, self._layers.get((found.name, direction), []))

    def state(self) -> State:
        """By node: the shapes it sends with, the links it has up, and what runs on it."""
        state: State = {
            node.name: {
                "queues": [],
                "interfaces": [],
                "processes": [p.name for p in node.processes if not self._stops[node.name, p.name]],
            }
            for node in self.job.nodes
        }
        for link in self.job.links:
            for node, way in ((link.a, "forward"), (link.b, "backward")):
                state[node]["queues"].append((link.name, self.shape(link.name, way)))
                state[node]["interfaces"].append((link.name, not self._downs[link.name]))
        return state
