"""What many players cost: CPU a player-second as their number grows, memory, start-up; and twenty for real.

    crowd   10, 100 and 500 players on 50 OCAs and 20 ISPs in one guest
    twenty  20 players at about 4 Mbit/s over 4 hops for ten minutes, all links captured

CPU is user and system time of `testbed run` and of all it started; a player-second is a second of video
played. Ratios are within one run of this script on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from oca_crash import machine

from testbed.measure.tables import Tables

ISPS, OCAS = 20, 50


def crowd(players: int) -> str:
    """A topology: ISPs at one exchange, OCAs in all of them and at the CDN's router."""
    lines = [
        "name: crowd",
        "defaults: {link: {rate: 10gbit, delay: 1ms, queue: 50ms}}",
        "access:",
        "  line: {down: {rate: 20mbit, delay: 8ms, queue: 100ms}, up: {rate: 5mbit, delay: 8ms}}",
        "isps:",
    ]
    for number in range(ISPS):
        count = players // ISPS + (number < players % ISPS)
        clients = f", clients: {{homes: {{count: {count}, at: core, access: line}}}}" if count else ""
        lines.append(f"  isp{number + 1}: {{asn: {64701 + number}, routers: [core]{clients}}}")
    members = ", ".join([*(f"isp{number + 1}.core" for number in range(ISPS)), "cdn.pop"])
    lines += [
        "exchanges:",
        f"  ix: {{asn: 64520, members: [{members}]}}",
        "cdn:",
        "  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],",
        "   control: {at: cdn.pop}, origin: {at: cdn.pop}}",
        "ocas:",
    ]
    for number in range(OCAS):
        where = f"isp{number % ISPS + 1}.core" if number < 2 * ISPS else "cdn.pop"
        lines.append(f"  oca{number + 1}: {{at: {where}, delay: 100us}}")
    lines.append("links:")
    lines += [f"  - {{endpoints: [{member}, ix]}}" for member in members.split(", ")]
    return "\n".join(lines) + "\n"


def crowd_scenario(players: int, seconds: int) -> str:
    """Everybody arrives within ten seconds and plays to the end."""
    lines = [
        "name: crowd", "topology: crowd.yaml", f"duration: {seconds}s",
        f"titles: {{film: {{length: {seconds}s, segment: 4s, bitrates: [235kbit, 560kbit, 1050kbit]}}}}",
        "captures: []", "workload:",
    ]  # fmt: skip
    apart_ms = 10_000 * ISPS // max(players, ISPS)
    lines += [
        f"  - {{kind: playback, clients: isp{number + 1}.homes, title: film, buffer: 20s,"
        f" arrivals: {{every: {apart_ms}ms, first: {number * 20}ms}}}}"
        for number in range(min(ISPS, players))
    ]
    return "\n".join(lines) + "\n"


TWENTY = """name: twenty
defaults: {link: {rate: 1gbit, delay: 1ms, queue: 50ms}}
access: {line: {down: {rate: 20mbit, delay: 8ms, queue: 100ms}, up: {rate: 5mbit, delay: 8ms}}}
isps:
  north: {asn: 64501, routers: [core, edge], clients: {homes: {count: 20, at: edge, access: line}}}
cdn:
  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {at: cdn.pop}, origin: {at: cdn.pop}}
ocas: {oca1: {at: cdn.pop, delay: 100us}}
links:
  - {endpoints: [north.core, north.edge]}
  - {endpoints: [north.core, cdn.pop], relation: customer}
"""
# home - edge - core - pop - OCA: four links, each captured
TWENTY_SCENARIO = """name: twenty
topology: twenty.yaml
duration: {seconds}s
titles: {{film: {{length: {seconds}s, segment: 4s, bitrates: [1mbit, 2mbit, 4mbit]}}}}
captures: all
workload:
  - kind: playback
    clients: north.homes
    title: film
    abr: {{kind: fixed, bitrate: 4mbit}}
    arrivals: {{every: 500ms}}
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run cost, and what was played in it."""

    real_s: float
    cpu_s: float
    guest_s: float  # the venue's stage: boot, start-up and the scenario
    guest_cpu_s: float
    tables_cpu_s: float
    startup_s: float  # real time from the start to the scenario's zero
    startup_cpu_s: float
    peak_bytes: int  # resident memory of the largest process, which is the guest's
    virtual_s: float
    played_s: float
    stalls: int
    sessions: int
    packets: int


def measured(folder: Path, name: str, topology: str, scenario: str, memory: str) -> Cost:
    """Run a scenario once; SystemExit with what was said if it did not finish."""
    (folder / f"{name}.yaml").write_text(topology)
    (folder / "scenario.yaml").write_text(scenario)
    command = [
        sys.executable, "-m", "testbed", "run", str(folder / "scenario.yaml"), "--out", str(folder / "runs"),
        "--memory", memory, "-f", "json",
    ]  # fmt: skip
    before, began = os.times(), time.monotonic()
    startup_s, startup_cpu_s, said = 0.0, 0.0, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:  # a line for each stage where no terminal is
            said = line
            if not startup_s and line.startswith("virtual time"):
                startup_s, startup_cpu_s = time.monotonic() - began, spent_s(process.pid)
        answered = process.stdout.read()
    after = os.times()
    if process.returncode not in (0, 1):
        raise SystemExit(f"{name}: exit {process.returncode}: {said}")
    told = json.loads(answered)
    run = Path(told["run"])
    record = json.loads((run / "run.json").read_text())
    tables = Tables(run)
    ((played_ns, stalls, sessions),) = tables.sql(
        "select coalesce(sum(played_ns), 0), sum(rebuffers), count(*) from sessions"
    )
    return Cost(
        real_s=time.monotonic() - began,
        cpu_s=after.children_user + after.children_system - before.children_user - before.children_system,
        guest_s=record["stages_s"]["venue"],
        guest_cpu_s=record["stages_cpu_s"]["venue"],
        tables_cpu_s=record["stages_cpu_s"]["tables"],
        startup_s=startup_s,
        startup_cpu_s=startup_cpu_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        virtual_s=told["virtual_s"],
        played_s=int(played_ns) / 1e9,
        stalls=int(stalls),
        sessions=int(sessions),
        packets=int(tables.scalar("select coalesce(sum(packets), 0) from captures")),
    )


def spent_s(pid: int) -> float:
    """Processor time that a process and all that came of it have used so far (proc(5), stat)."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        found += ticks.get(each, 0)
        waiting += children.get(each, [])
    return found / os.sysconf("SC_CLK_TCK")


def show_crowd(folder: Path, counts: Sequence[int], seconds: int, memory: str) -> None:
    """Print the cost for each number of players, and of what further ones add."""
    names = ("players", "CPU s", "startup: CPU s", "real s", "peak MiB", "played s", "ms/played s", "stalls")
    print("".join(f"{name:>15}" for name in names))
    seen: list[tuple[int, Cost]] = []
    for count in counts:
        cost = measured(folder, "crowd", crowd(count), crowd_scenario(count, seconds), memory)
        seen.append((count, cost))
        each_ms = 1000 * cost.cpu_s / cost.played_s
        start = (cost.startup_cpu_s, cost.startup_s)
        figures = (count, cost.cpu_s, *start, cost.peak_bytes / 2**20, cost.played_s, each_ms)
        print("".join(f"{figure:>15.1f}" for figure in figures) + f"{cost.stalls:>15}", flush=True)
    for (few, one), (many, other) in pairwise(seen):
        more_ms = 1000 * (other.cpu_s - one.cpu_s) / (other.played_s - one.played_s)
        print(f"from {few} to {many} players: {more_ms:.2f} ms of CPU for each further second played")


def show_twenty(folder: Path, minutes: int, memory: str) -> None:
    """Print what twenty players cost with every packet of every link recorded."""
    scenario = TWENTY_SCENARIO.format(seconds=60 * minutes)
    cost = measured(folder, "twenty", TWENTY, scenario, memory)
    virtual_s = cost.virtual_s
    print(
        f"{cost.sessions} sessions, {cost.played_s:.0f} s played, {cost.stalls} stalls,"
        f" {cost.packets:,} packets\n"
        f"guest: {cost.guest_cpu_s:.1f} s CPU = {cost.guest_cpu_s / virtual_s:.3f} x the scenario's time,"
        f" in {cost.guest_s:.1f} s real\n"
        f"tables: {cost.tables_cpu_s:.1f} s CPU = {cost.tables_cpu_s / virtual_s:.3f}\n"
        f"in all {cost.cpu_s:.1f} s CPU = {cost.cpu_s / virtual_s:.3f}, in {cost.real_s:.1f} s real"
    )


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description="Print what players cost.",
        epilog="example: .venv/bin/python benchmarks/players.py crowd --players 10 100",
    )
    parser.add_argument("part", choices=["crowd", "twenty"])
    parser.add_argument("--players", type=int, nargs="+", default=[10, 100, 500], metavar="N")
    parser.add_argument("--seconds", type=int, default=60, help="of the crowd's scenario (60)")
    parser.add_argument("--minutes", type=int, default=10, help="of twenty's scenario (10)")
    parser.add_argument("--memory", default="2GiB")
    asked = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as folder:
        if asked.part == "crowd":
            show_crowd(Path(folder), asked.players, asked.seconds, asked.memory)
        else:
            show_twenty(Path(folder), asked.minutes, asked.memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
