"""A fault strikes a running network, proves that it struck, and is undone.

A kind is one file: a dataclass of its parameters with the docstring's first line an example in
YAML, `strike`, a context manager so that striking and healing cannot come apart, and `took_hold`
and `healed`, which judge from the tables. The guest imports this too: no third-party import at the
top of a fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from testbed.references import (
    CommunityName,
    ExpiredOcaName,
    LinkName,
    NeighborName,
    NodeName,
    OcaName,
    PopulationName,
    Prefix,
    RouterName,
    TitleName,
)
from testbed.units import Duration

if TYPE_CHECKING:
    from testbed.job import Job, Shape
    from testbed.measure.tables import Tables
    from testbed.routing import Routing

__all__ = [
    "CommunityName", "ExpiredOcaName", "Fault", "LinkName", "NeighborName", "Net", "NodeName", "OcaName",
    "PopulationName", "Prefix", "RouterName", "State", "TitleName", "changes", "layered",
]  # fmt: skip

State = dict[str, dict[str, list[Any]]]  # by node, by part (interfaces, queues, processes, files…)


@dataclass(frozen=True)
class Cut:
    """A folder in which every file has only its beginning: a share of its length."""

    share: float


class Net(Protocol):
    """What a fault may do to the running network. `testbed.testing.FakeNet` is one without a kernel."""

    job: Job

    def shaped(self, link: str, direction: str = "both", **change: Any) -> AbstractContextManager[None]:
        """Change fields of a link's `Shape` while inside; `direction` is both, forward or backward.

        Overlapping changes lie on one another in the order they came, and any may end first.
        """

    def down(self, link: str) -> AbstractContextManager[None]:
        """Take both ends of a link down while inside."""

    def stopped(self, node: str, processes: tuple[str, ...] | None = None) -> AbstractContextManager[None]:
        """Kill processes of a node (all of them if None) while inside; start them again after."""

    def frozen(self, node: str, processes: tuple[str, ...] | None = None) -> AbstractContextManager[None]:
        """Keep processes of a node (all of them if None) from running while inside: they hang."""

    def files(self, node: str, changes: Mapping[str, str | Cut | None]) -> AbstractContextManager[None]:
        """Change files of a node while inside, by their path in its folder: a text, cut, or None for gone."""

    def routed(self, router: str, change: Callable[[Routing], Routing]) -> AbstractContextManager[None]:
        """Have a router do what a change makes of its description while inside; the latest on top.

        KeyError for a router whose description the job does not hold.
        """

    def drained(self, oca: str) -> AbstractContextManager[None]:
        """Have steering send an OCA no new clients while inside, as an operator asks it to."""

    def state(self) -> State:
        """All that a fault may change, as it is now: what is left of one shows against the state before."""


@dataclass(kw_only=True)
class Fault:
    """What all faults have; subclasses add their parameters and set `kind` and `colour`."""

    kind: ClassVar[str] = ""
    colour: ClassVar[str] = "#d9d9d9"  # of its band in the report

    at: Duration
    lasts: Duration

    def where(self) -> str:
        """What it strikes, in words of the topology."""
        raise NotImplementedError

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Be in force while inside, and undone after, whatever happens inside."""
        raise NotImplementedError

    def took_hold(self, tables: Tables) -> bool | None:
        """Whether packets or routes show that it struck; None if nothing can be said."""
        raise NotImplementedError

    def healed(self, tables: Tables) -> bool | None:
        """Whether packets or routes show that it ended; None if nothing can be said."""
        raise NotImplementedError


def layered(base: Shape, layers: Iterable[dict[str, Any]]) -> Shape:
    """A direction's shape with the changes in force laid over it, latest last."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return dataclasses.replace(base, **merged)


def changes(before: State, after: State) -> list[str]:
    """What differs between two states, one line each; empty when they are equal."""
    found = []
    for node, parts in before.items():
        for part, value in parts.items():
            other = after[node][part]
            if value != other:
                missing = [item for item in value if item not in other]
                extra = [item for item in other if item not in value]
                found.append(f"{node}: {part}: was {missing}, is {extra}")
    return found
