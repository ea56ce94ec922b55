"""Buffer-based against throughput-based bitrate adaptation on a cellular trace, seed by seed.

Each seed is a run in which as many viewers as there are algorithms, each behind an access link of its own
that follows the same trace from the same offset, play the same title: the arms differ in the algorithm alone.
Differences are paired by seed, their 95 % intervals bootstrapped over seeds. Published (Huang et al.,
SIGCOMM 2014, in the field): 10 to 20 % fewer rebuffers than the then default at a similar rate.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from oca_crash import machine
from repeats import rows

from testbed import stats

ROOT = Path(__file__).parent.parent
TRACES = ROOT.parent / "shared" / "data" / "traces"
CONTROL = "throughput"
METRICS = ("rebuffer_ratio", "bitrate_kbps", "rebuffers", "switches", "play_delay_s", "qoe_lin")
OFFSETS = 20  # places of the trace, spread evenly, at which runs begin

TOPOLOGY = """name: cellular
defaults: {{link: {{rate: 1gbit, delay: 1ms, queue: 50ms}}}}
access:
  cell: {{down: {{trace: {down}, delay: 20ms, queue: 250kB}}, up: {{rate: 5mbit, delay: 20ms}}}}
isps:
  mobile: {{asn: 64501, routers: [core], clients: {{{clients}}}}}
cdn:
  {{asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {{at: cdn.pop}}, origin: {{at: cdn.pop}}}}
ocas: {{oca1: {{at: mobile.core, delay: 5ms}}}}
links: [{{endpoints: [mobile.core, cdn.pop], relation: customer}}]
"""
SCENARIO = """name: cellular
topology: cellular.yaml
duration: {seconds}s
titles: {{film: {{length: {seconds}s, segment: 4s, bitrates: [{ladder}]}}}}
captures: []
workload:
"""


def rotated(trace: Path, offset: float, into: Path) -> Path:
    """The trace from a part of its length on, and then its beginning (Mahimahi's lines of milliseconds)."""
    times = [int(line) for line in trace.read_text().split()]
    start, period = round(offset * times[-1]), times[-1]
    later = [time - start for time in times if time > start]
    into.write_text("\n".join(map(str, later + [time + period - start for time in times if time <= start])))
    return into


def scene(
    folder: Path, arms: Sequence[str], trace: Path, seed: int, *, seconds: int, ladder: str, buffer: str
) -> Path:
    """A scenario of one viewer an arm; the title's sizes and the place of the trace follow the seed."""
    down = rotated(trace, (seed - 1) % OFFSETS / OFFSETS, folder / f"cell-{seed}.down")
    names = [f"a{number}" for number in range(len(arms))]
    clients = ", ".join(f"{name}: {{count: 1, at: core, access: cell}}" for name in names)
    (folder / "cellular.yaml").write_text(TOPOLOGY.format(down=down, clients=clients))
    workload = "".join(
        f"  - {{kind: playback, clients: mobile.{name}, title: film, abr: {arm}, buffer: {buffer},"
        " timeout: 15s, arrivals: {every: 0s}}\n"
        for name, arm in zip(names, arms, strict=True)
    )
    path = folder / "scenario.yaml"
    path.write_text(SCENARIO.format(seconds=seconds, ladder=ladder) + workload)
    return path


def main() -> int:
    """Run every seed and print what came of the arms, and of each less the control."""
    parser = argparse.ArgumentParser(
        description="Compare ABR algorithms on a cellular trace.",
        epilog="example: .venv/bin/python benchmarks/abr.py --seeds 20",
    )
    parser.add_argument("--trace", type=Path, default=TRACES / "ATT-LTE-driving-2016.down")
    parser.add_argument("--arms", nargs="+", default=["bba-0", "bba-2", "bola", "robust-mpc"])
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--seconds", type=int, default=180, help="of each run (180)")
    parser.add_argument("--buffer", default="60s", help="of each player (60s)")
    parser.add_argument("--ladder", default="300kbit, 750kbit, 1200kbit, 1850kbit, 2850kbit, 4300kbit")
    asked = parser.parse_args()
    if not asked.trace.exists():
        print(f"there is no {asked.trace}; --trace names another", file=sys.stderr)
        return 2
    arms = [CONTROL, *asked.arms]
    print(machine())
    print(f"{asked.trace.name}, {asked.seeds} seeds of {asked.seconds} s, a buffer of {asked.buffer}")
    found: dict[str, dict[str, list[float]]] = {arm: {metric: [] for metric in METRICS} for arm in arms}
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as folder:
        for seed in range(1, asked.seeds + 1):
            path = scene(
                Path(folder), arms, asked.trace, seed,
                seconds=asked.seconds, ladder=asked.ladder, buffer=asked.buffer,
            )  # fmt: skip
            query = (
                "select abr, coalesce(rebuffer_ratio, 0), coalesce(bitrate_kbps, 0), rebuffers, switches,"
                " coalesce(play_delay_ns, 0) / 1e9, coalesce(qoe_lin, 0) from sessions"
            )
            for arm, *values in rows(path, Path(folder), seed, query):
                for metric, value in zip(METRICS, values, strict=True):
                    found[str(arm)][metric].append(float(value))
            print(f"seed {seed}", file=sys.stderr, flush=True)
    show(found)
    return 0


def show(found: dict[str, dict[str, list[float]]]) -> None:
    """Print the means of each arm with their intervals, then each arm's difference from the control."""
    for metric in METRICS:
        print(f"\n{metric}")
        for arm, values in found.items():
            mean = sum(values[metric]) / len(values[metric])
            low, high = stats.mean_interval(values[metric])
            line = f"  {arm:<12}{mean:>10.4g}  [{low:.4g}, {high:.4g}]"
            if arm != CONTROL:
                told = stats.paired(values[metric], found[CONTROL][metric])
                word = "clear" if told.clear else "not clear"
                line += f"   less {CONTROL}: {told.mean:+.4g} [{told.low:+.4g}, {told.high:+.4g}] {word}"
            print(line)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        print(failed.stderr or failed, file=sys.stderr)
        sys.exit(1)
