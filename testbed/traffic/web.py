"""Web-like traffic: pages of a few objects over TCP, with time to read between them."""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from typing import ClassVar

from testbed.traffic import GULP, Flow, Traffic
from testbed.units import Duration, Size

_SIZE_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Web(Traffic):
    """{kind: web, clients: north.homes, server: origin, page: 500kB, spread: 1.5, think: 5s}

    Each client fetches a page over a connection of its own, reads for a time drawn from an exponential
    distribution with the mean `think`, and fetches the next. A page's size is lognormal with the mean
    `page` and, of its logarithm, the standard deviation `spread`. A row of `traffic` is a page.
    """

    kind: ClassVar[str] = "web"

    page: Size = Size(500_000)
    spread: float = 1.5
    think: Duration = Duration(5 * 10**9)

    def serve(self, flow: Flow) -> None:
        """Answer each connection with as many bytes as it asks for."""
        with flow.listen() as listener:
            while time.time_ns() < flow.end_unix_ns:
                listener.settimeout(flow.left_s())
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    return
                with connection:
                    connection.settimeout(flow.left_s())
                    try:
                        left = int.from_bytes(connection.recv(_SIZE_BYTES, socket.MSG_WAITALL), "big")
                        connection.sendall(bytes(left))
                    except OSError:
                        continue  # the client went away

    def ask(self, flow: Flow) -> None:
        """Fetch and think until the time is over."""
        while time.time_ns() < flow.end_unix_ns:
            wanted = max(
                1, round(flow.rng.lognormvariate(math.log(self.page) - self.spread**2 / 2, self.spread))
            )
            size, error, start_ns = 0, "", time.time_ns()
            try:
                with flow.connect() as connection:
                    connection.sendall(wanted.to_bytes(_SIZE_BYTES, "big"))
                    while got := len(connection.recv(GULP)):
                        connection.settimeout(flow.left_s())
                        size += got
            except TimeoutError:
                error = "timeout: the time is over"
            except OSError as wrong:
                error = str(wrong)
            flow.record(start_ns, bytes=size, took_ns=time.time_ns() - start_ns, error=error)
            thought_s = flow.rng.expovariate(1e9 / self.think) if self.think else 0.0
            time.sleep(min(thought_s, flow.left_s()))
