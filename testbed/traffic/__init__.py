"""Background traffic shares the network with the players: one file a kind, found by the registry.

A kind is a dataclass of its parameters whose docstring's first line is an example in YAML. Its two halves,
`serve` and `ask`, run in threads of one process, each inside its node's network namespace and on the one
clock of the guest, so a one-way delay is simply the difference of two times. Runs in the guest: nothing
but the standard library.
"""

from __future__ import annotations

import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from testbed.faults import NodeName
from testbed.units import Duration

GULP = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What both halves of one client's conversation with the server know."""

    address: str  # of the server
    port: int
    start_unix_ns: int
    end_unix_ns: int
    rng: random.Random
    record: Callable[..., None]  # a row of the table `traffic`: t_unix_ns, and columns by name

    @property
    def family(self) -> socket.AddressFamily:
        """Of the address."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def left_s(self) -> float:
        """The time until the end; never quite 0, which would mean not to wait."""
        return max(1e-3, (self.end_unix_ns - time.time_ns()) / 1e9)

    def listen(self) -> socket.socket:
        """A TCP socket that waits for the client."""
        return socket.create_server((self.address, self.port), family=self.family)

    def connect(self) -> socket.socket:
        """A TCP connection to the server; OSError if there is none by the end."""
        return socket.create_connection((self.address, self.port), timeout=self.left_s())


@dataclass(frozen=True, kw_only=True)
class Traffic(ABC):
    """What all kinds have: a server, the clients of a population, and a time."""

    kind: ClassVar[str] = ""

    clients: str
    server: NodeName
    at: Duration = Duration(0)
    lasts: Duration | None = None

    @abstractmethod
    def serve(self, flow: Flow) -> None:
        """The server's half."""

    @abstractmethod
    def ask(self, flow: Flow) -> None:
        """The client's half; it records what it saw."""


def tuned(connection: socket.socket, congestion: str, pacing: int | None) -> None:
    """Have TCP send by an algorithm, and no faster than a rate in bit/s (SO_MAX_PACING_RATE, tcp(7))."""
    if congestion:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    if pacing:
        so_max_pacing_rate = 47  # asm-generic/socket.h
        connection.setsockopt(socket.SOL_SOCKET, so_max_pacing_rate, min(pacing // 8, 2**32 - 1))
