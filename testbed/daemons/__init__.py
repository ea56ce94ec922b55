"""A daemon makes a router do what its description says: one file a daemon, found by the registry.

Half of it runs when the network is planned (`files`, `processes`: text from data), half on the emulated
node (`answers`, `settled`, `become`), which is why nothing here imports more than the standard library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed.job import Process
from testbed.routing import Routing

READY = "daemon"  # what `Process.ready` starts with where a daemon of ours is asked


class DaemonError(RuntimeError):
    """A daemon that refused a command, or went away."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a daemon has words for, of a number that may be anything in the YAML; durations in ns."""

    least: int
    most: int
    step: int = 1


class Daemon(ABC):
    """The routing daemon of one node, whose files and sockets lie in `folder`."""

    kind: ClassVar[str] = ""
    programs: ClassVar[dict[str, str]] = {}  # what it runs, and the Debian package of each
    configuration: ClassVar[tuple[str, ...]] = ()  # names of the files that say what it does
    cannot: ClassVar[dict[str, str]] = {}  # keys of `bgp`, or `rov`, that it has no words for, and why
    limits: ClassVar[dict[tuple[str, ...], Limit]] = {}  # by the way to a number in `bgp`, or in OSPF's `bfd`

    def __init__(self, folder: str) -> None:
        self.folder = folder

    # When the network is planned.

    @abstractmethod
    def files(self, routing: Routing) -> dict[str, str]:
        """Its files by absolute path, with comments for people."""

    @abstractmethod
    def processes(self, routing: Routing) -> tuple[Process, ...]:
        """What runs, in the order in which it starts; the last is ready when routing has come up."""

    @abstractmethod
    def check(self) -> Iterable[tuple[str, ...]]:
        """Commands that read the files and exit with 0 if they are in order: no network, no rights needed."""

    def complaint(self, output: str) -> str:
        """The mistake that a check which failed told of: the last that it said."""
        lines = output.strip().splitlines()
        return lines[-1] if lines else ""

    # On the node, while it runs.

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes commands."""

    @abstractmethod
    def settled(self) -> bool:
        """Whether every BGP session is established and every IGP link has found its neighbour."""

    @abstractmethod
    def become(self, routing: Routing) -> None:
        """Do what another description of the node says from now on; no session is lost by it but those shut.

        DaemonError if the daemon refuses. One that does not run starts with it.
        """
