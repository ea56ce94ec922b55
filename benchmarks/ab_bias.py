"""How an A/B test on a shared bottleneck misleads: k of ten clients treated, with two connections each.

Spang et al., "Unbiased Experiments in Congested Networks", IMC 2021: who has two connections gets up to twice
as much as who has one, as long as few have; yet all treated get what all untreated get. The total treatment
effect is that between all and none; the A/B contrast at k is between the treated and the others of one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from oca_crash import machine
from repeats import rows

from testbed import stats

CLIENTS = 10
TOPOLOGY = """name: bias
defaults: {{link: {{rate: 1gbit, delay: 1ms, queue: 50ms}}}}
access: {{line: {{down: {{rate: 1gbit, delay: 9ms, jitter: 1ms}}, up: {{rate: 1gbit, delay: 9ms}}}}}}
isps:
  north:
    asn: 64501
    routers: [core, edge]
    clients: {{{clients}}}
hosts: {{server: {{at: north.core}}}}
links: [{{endpoints: [north.core, north.edge], rate: 50mbit, queue: 2bdp}}]
"""
SCENARIO = """name: bias
topology: bias.yaml
duration: {seconds}s
captures: []
sample: {seconds}s
workload:
"""
QUERY = (
    "select client like 'north.treated.%', sum(bytes) * 8e3 / max(took_ns) from traffic group by client, 1"
)


def scene(folder: Path, treated: int, seconds: int) -> Path:
    """A scenario in which so many have a second connection."""
    counts = {"treated": treated, "others": CLIENTS - treated}
    clients = ", ".join(f"{name}: {{count: {n}, at: edge, access: line}}" for name, n in counts.items() if n)
    (folder / "bias.yaml").write_text(TOPOLOGY.format(clients=clients))
    bulk = "  - {{kind: bulk, clients: north.{}, server: server}}\n"
    workload = [bulk.format(name) for name, count in counts.items() if count]
    workload += [bulk.format("treated")] if treated else []
    path = folder / "scenario.yaml"
    path.write_text(SCENARIO.format(seconds=seconds) + "".join(workload))
    return path


def main() -> int:
    """Run every k with every seed and print the contrasts and the effect."""
    parser = argparse.ArgumentParser(
        description="Measure the bias of A/B tests on a shared bottleneck.",
        epilog="example: .venv/bin/python benchmarks/ab_bias.py --seeds 10",
    )
    parser.add_argument("--treated", type=int, nargs="+", default=[0, 1, 5, 9, 10], metavar="K")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=int, default=60, help="of each run (60)")
    asked = parser.parse_args()
    print(f"{machine()}\n{asked.seeds} seeds of {asked.seconds} s", flush=True)
    everybody: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as folder:
        for k in asked.treated:
            contrasts: list[float] = []
            everybody[k] = []
            for seed in range(1, asked.seeds + 1):
                arms: dict[bool, list[float]] = {True: [], False: []}
                for treated, mbps in rows(scene(Path(folder), k, asked.seconds), Path(folder), seed, QUERY):
                    arms[bool(treated)].append(float(mbps))
                everybody[k].append(sum(arms[True] + arms[False]) / CLIENTS)
                if arms[True] and arms[False]:
                    means = (sum(arm) / len(arm) for arm in (arms[True], arms[False]))
                    one, other = means
                    contrasts.append(100 * (one / other - 1))
            mean = sum(everybody[k]) / asked.seeds
            line = f"{k:>3} of {CLIENTS} treated: {mean:.3f} Mbit/s a client"
            if contrasts:
                low, high = stats.mean_interval(contrasts)
                line += f"; A/B contrast {sum(contrasts) / asked.seeds:+.0f}% [{low:+.0f}%, {high:+.0f}%]"
            print(line, flush=True)
    if {0, CLIENTS} <= everybody.keys():
        base = sum(everybody[0]) / asked.seeds
        effect = stats.paired(everybody[CLIENTS], everybody[0])
        shown = [100 * value / base for value in (effect.mean, effect.low, effect.high)]
        print(f"all against none: {shown[0]:+.2f}% [{shown[1]:+.2f}%, {shown[2]:+.2f}%], the effect there is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
