"""What pacing an OCA does to its viewers and to their neighbours on the same link, as in Sammy.

Spang et al., "Sammy: smoothing video traffic to be a friendly internet neighbor", SIGCOMM 2023: video that is
paced at 1.5 to 3 times its top bitrate lets neighbours see less delay and loss, and its viewers lose nothing.
Each seed is run with and without pacing, once for each kind of neighbour; differences are paired by seed. By
connection the OCA paces at --times; by response it paces at 3 times, and players ask for 3 to 1.5 times as
their buffer fills. That neighbours gain is shown by an interval of 95 % clear of zero; that viewers lose
nothing by two one-sided tests (Schuirmann, 1987): the same interval lies within a margin stated here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from oca_crash import machine
from repeats import rows

from testbed import stats

TOP_KBPS = 3200
NEIGHBOURS = {
    "realtime": "{kind: realtime, clients: north.near, server: origin, at: 2s, rate: 500kbit, packet: 600B}",
    "bulk": "{kind: bulk, clients: north.near, server: origin, at: 2s}",
    "web": "{kind: web, clients: north.near, server: origin, at: 2s, page: 1MB, spread: 0.5, think: 1s}",
}
# The neighbours' homes and the viewers' are behind one link, whose queue is two bandwidth-delay products.
TOPOLOGY = """name: pacing
defaults: {{link: {{rate: 1gbit, delay: 1ms, queue: 50ms}}}}
access: {{line: {{down: {{rate: 1gbit, delay: 4ms, jitter: 500us}}, up: {{rate: 1gbit, delay: 4ms}}}}}}
isps:
  north:
    asn: 64501
    routers: [core, edge]
    clients: {{viewers: {{count: 2, at: edge, access: line}}, near: {{count: 1, at: edge, access: line}}}}
cdn:
  {{asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {{at: cdn.pop}}, origin: {{at: cdn.pop, delay: 5ms}}}}
ocas: {{oca1: {{at: cdn.pop, delay: 5ms{pacing}}}}}
links:
  - {{endpoints: [north.core, north.edge], rate: 20mbit, queue: 2bdp}}
  - {{endpoints: [north.core, cdn.pop], relation: customer}}
"""
SCENARIO = """name: pacing
topology: pacing.yaml
duration: {seconds}s
titles: {{film: {{length: {seconds}s, segment: 4s, bitrates: [400kbit, 800kbit, 1600kbit, {top}kbit]}}}}
captures: []
sample: {seconds}s
workload:
  - kind: playback
    clients: north.viewers
    title: film
    buffer: 20s
    abr: bba-2{pace}
    arrivals: {{every: 700ms}}
  - {neighbour}
"""
VIDEO = (
    "select avg(bitrate_kbps), sum(rebuffer_ns) / 1e9, avg(play_delay_ns) / 1e6,"
    " (select max(drops) from links where link like 'north.%--north.%' and node = 'north.core') from sessions"
)
NEIGHBOUR = {
    "realtime": "select delay_p50_ns / 1e6, delay_p95_ns / 1e6, 100 * (1 - received / sent) from traffic",
    "bulk": "select sum(bytes) * 8e3 / max(took_ns) from traffic",
    "web": "select avg(took_ns) / 1e6 from traffic where error = ''",
}
NAMES = {
    "realtime": ("its median delay, ms", "its p95 delay, ms", "its loss, %"),
    "bulk": ("its throughput, Mbit/s",),
    "web": ("a page of it, ms",),
}
VIDEO_NAMES = (
    "video: bitrate, kbit/s",
    "video: stalled, s",
    "video: play delay, ms",
    "link: packets dropped",
)
# What would be no loss to a viewer: a twentieth of the bitrate, 100 ms of standing still, 50 ms at the start.
MARGINS = {"video: bitrate, kbit/s": TOP_KBPS / 20, "video: stalled, s": 0.1, "video: play delay, ms": 50.0}


def scene(folder: Path, neighbour: str, pacing_kbps: int, seconds: int, *, by_response: bool = False) -> Path:
    """A scenario with that neighbour; pacing 0 is none."""
    pace = "\n    pace: {empty: 3, full: 1.5}" if by_response and pacing_kbps else ""
    pacing = f", pacing: {pacing_kbps}kbit" if pacing_kbps else ""
    (folder / "pacing.yaml").write_text(TOPOLOGY.format(pacing=pacing))
    path = folder / "scenario.yaml"
    known = {"seconds": seconds, "top": TOP_KBPS, "neighbour": NEIGHBOURS[neighbour], "pace": pace}
    path.write_text(SCENARIO.format(**known))
    return path


def main() -> int:
    """Run both arms with each neighbour and print the differences."""
    parser = argparse.ArgumentParser(
        description="Measure what pacing does to viewers and neighbours.",
        epilog="example: .venv/bin/python benchmarks/pacing.py --times 2 --seeds 10",
    )
    parser.add_argument("--by", choices=["connection", "response"], default="connection")
    parser.add_argument("--times", type=float, default=2.0, help="the pace, in top bitrates (2)")
    parser.add_argument("--beside", nargs="+", choices=NEIGHBOURS, default=list(NEIGHBOURS))
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=int, default=40, help="of each run (40)")
    asked = parser.parse_args()
    by_response = asked.by == "response"
    pace_kbps = round((3 if by_response else asked.times) * TOP_KBPS)
    print(
        f"{machine()}\npaced by {asked.by} at {pace_kbps} kbit/s; {asked.seeds} seeds of {asked.seconds} s",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as folder:
        for neighbour in asked.beside:
            arms: list[list[list[float]]] = [[], []]
            for seed in range(1, asked.seeds + 1):
                for arm, pacing_kbps in enumerate((0, pace_kbps)):
                    path = scene(Path(folder), neighbour, pacing_kbps, asked.seconds, by_response=by_response)
                    video, near = rows(path, Path(folder), seed, VIDEO, NEIGHBOUR[neighbour])
                    arms[arm].append([float(value or 0) for value in (*near, *video)])
            print(f"\nneighbour: {neighbour}")
            show((*NAMES[neighbour], *VIDEO_NAMES), arms)
    return 0


def show(names: tuple[str, ...], arms: list[list[list[float]]]) -> None:
    """A line a figure: both means, and the paired difference."""
    for name, plain, paced in zip(names, zip(*arms[0], strict=True), zip(*arms[1], strict=True), strict=True):
        before, after = sum(plain) / len(plain), sum(paced) / len(paced)
        told = stats.paired(paced, plain)
        share = f" ({100 * told.mean / before:+.0f}%)" if before else ""
        if (margin := MARGINS.get(name)) is not None:
            verdict = f"{'' if told.within(margin) else 'not '}equivalent within {margin:g}"
        else:
            verdict = "clear" if told.clear else "not clear"
        print(
            f"  {name:<24}{before:>10.2f} -> {after:>10.2f}   {told.mean:+.2f}{share}"
            f" [{told.low:+.2f}, {told.high:+.2f}] {verdict}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
