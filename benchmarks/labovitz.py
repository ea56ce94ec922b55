"""How long BGP explores paths that are gone: a clique of ASes loses the only announcement of a prefix.

C. Labovitz, A. Ahuja, A. Bose and F. Jahanian, "Delayed Internet Routing Convergence", SIGCOMM 2000: in a
clique of N ASes, each of which also has a path of its own to the prefix, that takes at least N - 3
advertisement intervals (MRAI), since a path is one AS longer each time. No AS has a policy there, so none
has one here; all run FRR, as BIRD has no such interval.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import yaml
from oca_crash import machine

from testbed import pipeline
from testbed.daemons.frr import Frr
from testbed.job import NODES, Job
from testbed.measure.tables import Tables
from testbed.routing import EVERYTHING, Routing
from testbed.terminal import progress

SIZES, INTERVALS_S = (5, 10, 15), (0, 5)
MEMORY_BYTES = 2 * 2**30
DELAY = "5ms"
_PREFIX = "192.0.2.0/24"
_ASKED = """select updates, paths, last_update_ns / 1e9, last_route_ns / 1e9, loop_ns / 1e9 from convergence
    where fault = 1 and phase = 'struck' and prefix = ?"""

Row = tuple[int, int, int, int, float, float, float]


def clique(size: int, interval_s: int, folder: Path) -> Job:
    """A run in which an AS beside the clique, a neighbour of all, withdraws its prefix."""
    names = [f"n{number}" for number in range(1, size + 1)]
    ends = [*combinations(names, 2), *((name, "origin") for name in names)]
    isps: dict[str, dict[str, object]] = {
        name: {"asn": 64500 + number, "routers": ["r"]} for number, name in enumerate(names, start=1)
    }
    isps["origin"] = {"asn": 64500, "routers": ["r"], "originate": [{"prefix": _PREFIX}]}
    topology = {
        "name": "clique", "families": ["ipv4"], "isps": isps,
        "defaults": {
            "daemon": "frr", "link": {"delay": DELAY}, "bgp": {"advertisement-interval": f"{interval_s}s"},
        },
        "links": [{"endpoints": [f"{a}.r", f"{b}.r"], "relation": "peer"} for a, b in ends],
    }  # fmt: skip
    at_s, lasts_s = 10 + 3 * interval_s, 10 + size * interval_s
    fault = {
        "kind": "prefix-withdraw", "router": "origin.r", "at": f"{at_s}s", "lasts": f"{lasts_s}s",
        "prefixes": [_PREFIX],
    }  # fmt: skip
    scenario = {
        "name": f"clique-{size}", "topology": "clique.yaml", "duration": f"{at_s + lasts_s + 5}s",
        "faults": [fault],
    }  # fmt: skip
    for name, document in (("clique", topology), ("scenario", scenario)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    job, described = pipeline.plan(folder / "scenario.yaml"), pipeline.bare(folder / "clique.yaml").routing
    routing = {name: _open(each) for name, each in described.items()}
    nodes = (replace(node, files=Frr(f"{NODES}/{node.name}").files(routing[node.name])) for node in job.nodes)
    return replace(job, nodes=tuple(nodes), routing={name: routing[name] for name in job.routing})


def _open(routing: Routing) -> Routing:
    """A router that tells every neighbour everything."""
    sessions = (replace(each, takes=EVERYTHING, sends=EVERYTHING) for each in routing.sessions)
    return replace(routing, sessions=tuple(sessions))


def measured(size: int, interval_s: int) -> Row:
    """(N, interval in s, updates, paths, s to the last update, to the last change of a table, of loops)."""
    with tempfile.TemporaryDirectory() as folder, progress(quiet=False) as show:
        job = replace(clique(size, interval_s, Path(folder)), memory_bytes=MEMORY_BYTES)
        result = pipeline.run(job, pipeline.venue("guest"), Path(folder), show)
        if result.reason:
            raise SystemExit(f"N = {size}: {result.reason}\n{result.evidence}")
        ((updates, paths, told_s, routed_s, loops_s),) = Tables(result.run).sql(_ASKED, _PREFIX)
        return size, interval_s, updates, paths, told_s, routed_s, loops_s


def plot(rows: list[Row]) -> str:
    """An SVG: N to the right, seconds to the last update upwards; a line an interval, dashed the bound."""
    width, height, left, bottom = 480, 320, 50, 40
    most_n = max(row[0] for row in rows)
    most_s = max(max(row[4], (row[0] - 3) * row[1]) for row in rows) * 1.1

    def at(n: float, seconds: float) -> tuple[float, float]:
        across, up = n / most_n * (width - left - 20), seconds / most_s * (height - bottom - 20)
        return round(left + across, 1), round(height - bottom - up, 1)

    def text(where: tuple[float, float], anchor: str, words: str) -> str:
        return f'<text x="{where[0]}" y="{where[1]}" text-anchor="{anchor}">{words}</text>'

    parts = []
    for interval in sorted({row[1] for row in rows}):
        line = [(row[0], row[4]) for row in rows if row[1] == interval]
        bound = [(n, (n - 3) * interval) for n, _ in line]
        for points, dash in ((line, ""), (bound, ' stroke-dasharray="4 4"')):
            way = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
            parts.append(f'<polyline points="{way}" fill="none" stroke="#345"{dash}/>')
        for x, y in (at(*point) for point in line):
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="#345"/>')
        x, y = at(*line[-1])
        parts.append(text((x, y - 8), "end", f"interval {interval} s"))
    for n in sorted({row[0] for row in rows}):
        x, y = at(n, 0)
        parts.append(text((x, y + 16), "middle", f"N = {n}"))
    for seconds in (0, most_s / 2, most_s):
        x, y = at(0, seconds)
        parts.append(text((x - 6, y), "end", f"{seconds:.0f} s"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12"><title>time to the last update after the only announcement is withdrawn;'
        f" dashed: N - 3 intervals</title>{''.join(parts)}</svg>\n"
    )


def main() -> int:
    """Run each size with each interval, print what came of it and plot it."""
    parser = argparse.ArgumentParser(
        description="Withdraw a prefix from cliques of ASes and print how long BGP explores paths.",
        epilog="example: .venv/bin/python benchmarks/labovitz.py --sizes 5 10 --intervals 0 30",
    )
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES, metavar="N", help="ASes (%(default)s)")
    parser.add_argument(
        "--intervals", nargs="*", type=int, default=INTERVALS_S, metavar="S",
        help="advertisement intervals in seconds (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--svg", type=Path, help="write a plot there", metavar="FILE")
    asked = parser.parse_args()
    print(f"before: {machine()}", flush=True)
    columns = ("N", "interval, s", "updates", "paths", "update, s", "route, s", "loops, s")
    print("".join(f"{column:>12}" for column in columns), flush=True)
    rows = []
    for interval_s in asked.intervals:
        for size in asked.sizes:
            row = measured(size, interval_s)
            rows.append(row)
            print(
                "".join(f"{each:>12.3f}" if isinstance(each, float) else f"{each:>12}" for each in row),
                flush=True,
            )
    print(f"after:  {machine()}")
    if asked.svg:
        asked.svg.write_text(plot(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
