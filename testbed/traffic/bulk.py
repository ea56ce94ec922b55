"""Bulk transfers fill what is left of a path, one TCP connection a client."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import ClassVar

from testbed.traffic import GULP, Flow, Traffic, tuned
from testbed.units import Rate, Size


@dataclass(frozen=True, kw_only=True)
class Bulk(Traffic):
    """{kind: bulk, clients: north.homes, server: origin, at: 10s, lasts: 30s}

    From the server to each client until the time is over, or `size` has come; without `lasts`, until the
    scenario ends. `congestion` is a TCP congestion control of the kernel, `pacing` a rate that the sender
    does not exceed.
    """

    kind: ClassVar[str] = "bulk"

    size: Size | None = None
    congestion: str = ""
    pacing: Rate | None = None

    def serve(self, flow: Flow) -> None:
        """Send zeros."""
        with flow.listen() as listener:
            listener.settimeout(flow.left_s())
            connection, _ = listener.accept()
        left = None if self.size is None else int(self.size)
        zeros = bytes(GULP)
        with connection:
            tuned(connection, self.congestion, self.pacing)
            while (left is None or left > 0) and time.time_ns() < flow.end_unix_ns:
                connection.settimeout(flow.left_s())
                sent = connection.send(zeros if left is None else zeros[:left])
                left = None if left is None else left - sent

    def ask(self, flow: Flow) -> None:
        """Count what comes."""
        size, error, start_ns = 0, "", time.time_ns()
        try:
            with flow.connect() as connection:
                # wake for a gulp, not for every packet
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, GULP // 4)
                while time.time_ns() < flow.end_unix_ns:
                    connection.settimeout(flow.left_s())
                    got = len(connection.recv(GULP))
                    if not got:
                        break
                    size += got
        except TimeoutError:
            pass  # its time is over
        except OSError as wrong:
            error = str(wrong)
        flow.record(start_ns, bytes=size, took_ns=time.time_ns() - start_ns, error=error)
