"""Probes are small UDP packets at fixed times, whose way the captures tell; nobody answers them.

`run(config)`, with `t0_unix_ns`, `duration_ns` and `every_ns`, and `probes`, a list of [descriptor of the
sender's namespace, source address, destination address]. A probe's number shows in its length, so that it
is known again on every link; where its sender has no route it is never seen.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from typing import Any

from testbed import namespaces
from testbed.job import PROBED_PORT, PROBES_APART

_LATE_S = 2.0  # how long those that are under way are waited for


def run(config: dict[str, Any]) -> None:
    """Send until the scenario's end."""
    sockets: dict[tuple[int, str], socket.socket] = {}
    flows = []
    for namespace, source, address in config["probes"]:
        if (namespace, source) not in sockets:
            family = socket.AF_INET6 if ":" in source else socket.AF_INET
            with namespaces.inside(namespace):
                sockets[namespace, source] = socket.socket(family, socket.SOCK_DGRAM)
                sockets[namespace, source].bind((source, PROBED_PORT))
        flows.append((sockets[namespace, source], (address, PROBED_PORT)))
    for number in itertools.count():
        due_ns = number * config["every_ns"]
        if due_ns >= config["duration_ns"]:
            break
        time.sleep(max(0, config["t0_unix_ns"] + due_ns - time.time_ns()) / 1e9)
        for conversation, to in flows:
            with contextlib.suppress(OSError):  # there is no route
                conversation.sendto(bytes(number % PROBES_APART), to)
    time.sleep(_LATE_S)
