"""How large a network may be: builds rings of more and more nodes in a guest and prints what each cost.

Every node has a link to the next and one across the ring, so there are twice as many links as nodes.
All are shaped in both directions. The guest is on the wall clock: the real time that it measures
inside is what a user waits for.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from testbed.emulate.guest import tell
from testbed.emulate.network import Network
from testbed.job import NODES, Interface, Job, Link, Node, Shape

SIZES = (100, 250, 500, 1000)
MEMORY_BYTES = 2**30
SHAPE = Shape(rate_bps=100_000_000, delay_ns=5_000_000, queue_packets=100)
_ACROSS = 7


def ring(nodes: int) -> Job:
    """A ring with chords: `nodes` routers and twice as many links, dual stack."""
    interfaces: dict[int, list[Interface]] = {number: [] for number in range(nodes)}
    links = []
    pairs = [(a, (a + step) % nodes) for a in range(nodes) for step in (1, _ACROSS)]
    for number, (a, b) in enumerate(pairs):
        name = f"r{a}--r{b}"
        names = [f"eth{len(interfaces[end])}" for end in (a, b)]
        for side, (end, other) in enumerate(((a, b), (b, a))):
            interfaces[end].append(
                Interface(
                    name=names[side],
                    link=name,
                    mac=f"02:{side:02x}:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}"
                    f":{number >> 8 & 255:02x}:{number & 255:02x}",
                    address=f"10.{number >> 15}.{number >> 7 & 255}.{number << 1 & 255 | side}/31",
                    address6=f"2001:db8:{number:x}::{side}/127",
                    peer=f"r{other}",
                    shape=SHAPE,
                )
            )
        links.append(
            Link(
                name=name, a=f"r{a}", a_interface=names[0], b=f"r{b}", b_interface=names[1],
                a_to_b=SHAPE, b_to_a=SHAPE,
            )
        )  # fmt: skip
    return Job(
        scenario="scale", topology="ring", seed=1, clock="wall", duration_ns=0, epoch_ns=0, zone="",
        nodes=tuple(
            Node(name=f"r{number}", role="router", forwards=True, interfaces=tuple(own))
            for number, own in interfaces.items()
        ),
        links=tuple(links),
    )  # fmt: skip


def run(job: Job) -> None:
    """Build the network of a job and take it down again, in the guest."""
    network = Network(job, Path("/tmp/logs"), Path(NODES))
    before, began = available_bytes(), time.monotonic()
    network.build()
    up_s, used = time.monotonic() - began, before - available_bytes()
    began = time.monotonic()
    network.close()
    down_s = time.monotonic() - began
    tell(nodes=len(job.nodes), links=len(job.links), up_s=up_s, down_s=down_s, memory_bytes=used)


def available_bytes() -> int:
    """What the kernel could still give to programs (MemAvailable in proc(5))."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def main() -> int:
    """Measure each size in a guest of its own, and print."""
    parser = argparse.ArgumentParser(
        description="Build rings of many nodes, each with two shaped links, and print what they cost.",
        epilog="example: .venv/bin/python benchmarks/scale.py 100 1000",
    )
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="N", help="nodes (%(default)s)")
    asked = parser.parse_args()
    from oca_crash import machine  # these two bring much along that the guest does not need

    from testbed.testing import booted

    print(f"before: {machine()}", flush=True)
    columns = ("nodes", "links", "up, s", "ms a link", "down, s", "MiB", "KiB a node")
    print("".join(f"{column:>12}" for column in columns), flush=True)
    for size in asked.sizes:
        (cost,) = booted(ring(size), Path(__file__).stem, MEMORY_BYTES)
        print(
            f"{cost['nodes']:>12}{cost['links']:>12}{cost['up_s']:>12.2f}"
            f"{cost['up_s'] / cost['links'] * 1e3:>12.2f}{cost['down_s']:>12.2f}"
            f"{cost['memory_bytes'] / 2**20:>12.0f}{cost['memory_bytes'] / 2**10 / cost['nodes']:>12.0f}",
            flush=True,
        )
    print(f"after:  {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
