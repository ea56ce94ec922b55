"""What a packet costs: processor time for one long TCP transfer over three links, less a short one.

Four nodes stand in a row, s - x - y - d, with the same links between them and no segmentation
offload. Everything that does not depend on how much is sent (boot, Python, the network, the
counters read every second) is the same in the long run and in the short one, so it falls out of the
difference. Packets are counted by the kernel's queues: a packet counts once for every link it
crosses, data and acknowledgements alike. Processor time is that of the guest's process and of all
that it started, its first program's start included.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed import provenance
from testbed.job import Interface, Job, Link, Node, Process, Route, Shape
from testbed.venues.guest import Guest

MS, S = 1_000_000, 1_000_000_000
RATE_BPS = 100_000_000
DELAYS_NS = (1 * MS, 3 * MS, 5 * MS)
ROW = ("s", "x", "y", "d")
QUEUE_PACKETS = 200
BEGIN_NS = 5 * S  # after the routes have stood still
SPARE_NS = 10 * S  # more than the transfer needs at 90 % of the rate


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run cost, and what crossed its links."""

    sent_bytes: int
    cpu_s: float
    packet_hops: int
    drops: int
    captured: int


def job(sent_bytes: int, duration_ns: int, nap_ns: int, *, captured: bool) -> Job:
    """One transfer from the first node of the row to the last."""
    shapes = [
        Shape(rate_bps=RATE_BPS, delay_ns=delay_ns, queue_packets=QUEUE_PACKETS) for delay_ns in DELAYS_NS
    ]
    interfaces: dict[str, list[Interface]] = {node: [] for node in ROW}
    links = []
    for hop, ends in enumerate(itertools.pairwise(ROW)):
        name = "--".join(ends)
        for side, (here, there) in enumerate((ends, ends[::-1])):
            interfaces[here].append(
                Interface(
                    name=f"eth{len(interfaces[here])}",
                    link=name,
                    mac=f"02:00:00:00:{hop:02x}:{side:02x}",
                    address=f"10.0.{hop}.{side}/31",
                    peer=there,
                    peer_address=f"10.0.{hop}.{1 - side}",
                    shape=shapes[hop],
                )
            )
        a, b = ends
        links.append(
            Link(
                name=name, a=a, a_interface=interfaces[a][-1].name, b=b, b_interface=interfaces[b][-1].name,
                a_to_b=shapes[hop], b_to_a=shapes[hop],
            )
        )  # fmt: skip
    routes = {
        "s": [("0.0.0.0/0", "10.0.0.1")],
        "x": [("10.0.2.0/31", "10.0.1.1")],
        "y": [("10.0.0.0/31", "10.0.1.0")],
        "d": [("0.0.0.0/0", "10.0.2.0")],
    }
    sender = {"to": "10.0.2.1", "bytes": sent_bytes, "after_ns": BEGIN_NS}
    processes = {
        "s": (Process(name="send", service="bulk:send", config=sender),),
        "d": (Process(name="receive", service="bulk:receive", config={"nap_ns": nap_ns}),),
    }
    return Job(
        scenario="packet-cost",
        topology="row",
        seed=1,
        clock="virtual",
        duration_ns=duration_ns,
        epoch_ns=1_767_225_600 * S,
        zone="cdn.example",
        nodes=tuple(
            Node(
                name=node,
                role="host",
                forwards=True,
                address=interfaces[node][0].address.partition("/")[0],
                interfaces=tuple(interfaces[node]),
                routes=tuple(Route(prefix=prefix, via=via) for prefix, via in routes[node]),
                processes=processes.get(node, ()),
            )
            for node in ROW
        ),
        links=tuple(links),
        captures=tuple(link.name for link in links) if captured else (),
    )


def measured(work: Job, run: Path) -> Cost:
    """Run the job; SystemExit if the transfer did not come to its end."""
    run.mkdir()
    (run / "job.json").write_text(work.dumps())
    before_s = _children_s()
    Guest().run(work, run, lambda *_: None)
    cpu_s = _children_s() - before_s
    sender = work.node("s").processes[0].config
    if f"sent {sender['bytes']}\n" not in (run / "logs" / "s" / "send.log").read_text():
        raise SystemExit(f"the transfer of {sender['bytes']} bytes did not end in time")
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["table"] == "links":
            last[event["node"], event["interface"]] = event
    captured = sum(
        each["packets"] for each in json.loads((run / "guest.json").read_text())["capture"].values()
    )
    return Cost(
        sent_bytes=sender["bytes"],
        cpu_s=cpu_s,
        packet_hops=sum(event["packets"] for event in last.values()),
        drops=sum(event["drops"] for event in last.values()),
        captured=captured,
    )


def _children_s() -> float:
    """Processor time of the processes that ours has waited for, and those they waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """A long run less a short one."""

    captured: bool
    packet_hops: int
    cpu_s: float

    @property
    def rate(self) -> float:
        """Packet-hops per second of processor time."""
        return self.packet_hops / self.cpu_s


def machine() -> str:
    """Processor, cores that may be used, and how busy they are."""
    host = provenance.host()
    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    return f"{host['cpu']}, {host['cores']} cores, load average {load}"


def shown(found: Sequence[Marginal]) -> str:
    """The medians as a table: without captures and with."""
    lines = [f"{'':<22}{'packet-hops':>14}{'CPU-s':>10}{'ns each':>10}{'packet-hops/CPU-s':>20}"]
    for captured in sorted({each.captured for each in found}):
        label = "every link captured" if captured else "no capture"
        some = sorted((each for each in found if each.captured == captured), key=lambda each: each.cpu_s)
        cpu_s = statistics.median(each.cpu_s for each in some)
        hops = some[0].packet_hops
        lines.append(
            f"{label:<22}{hops:>14,}{cpu_s:>10.2f}{cpu_s / hops * 1e9:>10,.0f}{hops / cpu_s:>20,.0f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run, and print."""
    parser = argparse.ArgumentParser(
        description="Print what a packet costs: a long TCP transfer over three links, less a short one.",
        epilog="example: .venv/bin/python benchmarks/packet_cost.py --receiver-nap 1",
    )
    parser.add_argument("-n", "--runs", type=int, default=3, metavar="N", help="how many pairs of runs (3)")
    parser.add_argument(
        "--receiver-nap", type=float, default=5, metavar="MS",
        help="milliseconds of virtual time that the receiver sleeps between reads (5)",
    )  # fmt: skip
    parser.add_argument("--short", type=int, default=60, metavar="MB", help="the short transfer (60)")
    parser.add_argument("--long", type=int, default=600, metavar="MB", help="the long transfer (600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every run's figures there")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs: one at least")
    if not 0 < asked.short < asked.long:
        parser.error("--short: more than 0 and less than --long")
    print(
        f"{asked.short} and {asked.long} MB over {len(DELAYS_NS)} links of {RATE_BPS // 10**6} Mbit/s, "
        f"the receiver naps {asked.receiver_nap:g} ms\nbefore: {machine()}",
        flush=True,
    )
    duration_ns = BEGIN_NS + SPARE_NS + int(asked.long * 8_000_000 / (0.9 * RATE_BPS)) * S
    costs: list[Cost] = []
    found = []
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as out:
        for number, captured in itertools.product(range(asked.runs), (False, True)):
            pair = []
            for length in (asked.short, asked.long):
                work = job(length * 10**6, duration_ns, int(asked.receiver_nap * MS), captured=captured)
                pair.append(measured(work, Path(out, f"{number}-{length}-{captured}")))
            costs += pair
            short, long = pair
            found.append(
                Marginal(
                    captured=captured,
                    packet_hops=long.packet_hops - short.packet_hops,
                    cpu_s=long.cpu_s - short.cpu_s,
                )
            )
            print(f"  {'captured' if captured else 'no capture':<12}{found[-1].rate:>12,.0f}", flush=True)
    print(f"after:  {machine()}\n\n{shown(found)}")
    if asked.json:
        asked.json.write_text(
            json.dumps(
                {
                    "host": provenance.host(),
                    "versions": provenance.versions(),
                    "receiver_nap_ms": asked.receiver_nap,
                    "runs": [asdict(cost) for cost in costs],
                    "marginal": [asdict(each) | {"rate": each.rate} for each in found],
                },
                indent=1,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
