"""What faults change lies in layers, all of a thing rendered together: any of them may end first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed.faults import layered
from testbed.job import Job, Link, Shape


class Layers:
    """The changes in force on a job's links; what renders them is left to subclasses."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._layers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._downs: dict[str, int] = {}

    @contextmanager
    def shaped(self, link: str, direction: str = "both", **change: Any) -> Iterator[None]:
        """Change fields of a link's `Shape` while inside; `direction` is both, forward or backward.

        KeyError for an unknown link, TypeError for an unknown field.
        """
        found = self.job.link(link)
        layered(found.a_to_b, [change])
        ways = [way for way in ("forward", "backward") if direction in ("both", way)]
        for way in ways:
            self._layers.setdefault((found.name, way), []).append(change)
        try:
            self._render(found, ways)
            yield
        finally:
            for way in ways:
                layers = self._layers[found.name, way]
                del layers[next(i for i, layer in enumerate(layers) if layer is change)]
            self._render(found, ways)

    @contextmanager
    def down(self, link: str) -> Iterator[None]:
        """Take both ends of a link down while inside; KeyError for an unknown one."""
        found = self.job.link(link)
        self._downs[found.name] = self._downs.get(found.name, 0) + 1
        try:
            if self._downs[found.name] == 1:
                self._carrier(found, up=False)
            yield
        finally:
            self._downs[found.name] -= 1
            if not self._downs[found.name]:
                self._carrier(found, up=True)

    def shape(self, link: str, way: str) -> Shape:
        """The shape in force for one direction, `forward` (a to b) or `backward`."""
        found = self.job.link(link)
        planned = found.a_to_b if way == "forward" else found.b_to_a
        return layered(planned, self._layers.get((found.name, way), []))

    def is_down(self, link: str) -> bool:
        """Whether something holds the link of this name down."""
        return bool(self._downs.get(link))

    def _render(self, link: Link, ways: list[str]) -> None:
        """Put the shapes in force on the wire."""

    def _carrier(self, link: Link, *, up: bool) -> None:
        """Take both ends of a link up or down."""
