"""One bulk transfer over TCP: the two services that benchmarks run inside the guest."""

from __future__ import annotations

import socket
import time
from typing import Any

PORT = 9000
_BLOCK_BYTES = 1 << 20


def send(config: dict[str, Any]) -> None:
    """Send `bytes` to the receiver at `to`, `after_ns` after the start, and wait until all are read."""
    time.sleep(config["after_ns"] / 1e9)
    block = memoryview(bytes(_BLOCK_BYTES))
    left = config["bytes"]
    with socket.create_connection((config["to"], PORT)) as out:
        while left:
            left -= out.send(block[: min(left, _BLOCK_BYTES)])
        out.shutdown(socket.SHUT_WR)
        out.recv(1)  # the receiver closes when it has read everything
    print("sent", config["bytes"])


def receive(config: dict[str, Any]) -> None:
    """Read one connection to its end, napping `nap_ns` between reads, and print how long it took."""
    block = bytearray(_BLOCK_BYTES)
    total = reads = 0
    with socket.create_server(("0.0.0.0", PORT)) as listening:
        into, _ = listening.accept()
        began_ns = time.monotonic_ns()
        with into:
            while count := into.recv_into(block):
                total += count
                reads += 1
                if config["nap_ns"]:
                    time.sleep(config["nap_ns"] / 1e9)
        took_ns = time.monotonic_ns() - began_ns
    print(f"received {total} bytes in {took_ns} ns with {reads} reads")
