"""How fast the testbed is: runs a scenario several times and prints what each run cost.

The runs go one after the other, each by the command line in a process of its own, so that what is
measured is what a user waits for. Processor time is user and system time of that process and of all
the processes it waited for, the guest's among them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import provenance
from testbed.measure.tables import Tables

ROOT = Path(__file__).parent.parent
SCENARIO = ROOT / "scenarios" / "oca-crash.yaml"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run cost, and what one got for it."""

    real_s: float  # from the command to its end, the start of Python included
    guest_s: float  # boot, network, routing, and the scenario itself
    tables_s: float
    judged_s: float  # checks and report
    cpu_s: float
    virtual_s: float
    packets: int  # every link is captured once, so a packet counts once for every link it crosses
    digest: str


# Label, and the number of a run.
FIGURES: dict[str, Callable[[Cost], float]] = {
    "real time, s": lambda cost: cost.real_s,
    "  guest": lambda cost: cost.guest_s,
    "  tables": lambda cost: cost.tables_s,
    "  checks and report": lambda cost: cost.judged_s,
    "virtual time, s": lambda cost: cost.virtual_s,
    "virtual / real time": lambda cost: cost.virtual_s / cost.real_s,
    "CPU time, s": lambda cost: cost.cpu_s,
    "packet-hops captured": lambda cost: cost.packets,
    "packet-hops / CPU-second": lambda cost: cost.packets / cost.cpu_s,
}


def measured(scenario: Path, out: Path) -> Cost:
    """Run the scenario once; CalledProcessError if the run was not judged (exit 2, 3 or 4)."""
    command = [sys.executable, "-m", "testbed", "run", str(scenario), "--out", str(out), "-q", "-f", "json"]
    before_s, start_s = children_s(), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    real_s, cpu_s = time.monotonic() - start_s, children_s() - before_s
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, command)
    answer = json.loads(done.stdout)
    run = Path(answer["run"])
    stages_s = json.loads((run / "run.json").read_text())["stages_s"]
    return Cost(
        real_s=real_s,
        guest_s=stages_s["venue"],
        tables_s=stages_s["tables"],
        judged_s=stages_s["checks"] + stages_s["report"],
        cpu_s=cpu_s,
        virtual_s=answer["virtual_s"],
        packets=int(Tables(run).scalar("select sum(packets) from captures")),
        digest=answer["digest"],
    )


def children_s() -> float:
    """Processor time of the processes that ours has waited for, and those they waited for."""
    spent = os.times()
    return spent.children_user + spent.children_system


def shown(costs: Sequence[Cost]) -> str:
    """The figures of all runs as a table."""
    lines = [f"{'':<26}{'min':>12}{'median':>12}{'max':>12}"]
    for label, figure in FIGURES.items():
        values = [figure(cost) for cost in costs]
        numbers = (min(values), statistics.median(values), max(values))
        lines.append(f"{label:<26}" + "".join(f"{_number(number):>12}" for number in numbers))
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def machine() -> str:
    """Processor, cores that may be used, and how busy they are."""
    host = provenance.host()
    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    return f"{host['cpu']}, {host['cores']} cores, load average {load}"


def main() -> int:
    """Run, and print; exit code 1 if two runs of the one seed left different results."""
    parser = argparse.ArgumentParser(
        description="Run a scenario several times and print what it cost: real, virtual and CPU time.",
        epilog="example: .venv/bin/python benchmarks/oca_crash.py --runs 5",
    )
    parser.add_argument("scenario", nargs="?", type=Path, default=SCENARIO, help="by default oca-crash")
    parser.add_argument("-n", "--runs", type=int, default=3, metavar="N", help="how many runs (3)")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs: one at least")
    print(f"{asked.scenario.name}, {asked.runs} runs\nbefore: {machine()}", flush=True)
    costs = []
    with tempfile.TemporaryDirectory(prefix="testbed-benchmark-") as out:
        for number in range(1, asked.runs + 1):
            try:
                costs.append(measured(asked.scenario, Path(out)))
            except subprocess.CalledProcessError as failed:
                print(f"run {number} gave exit code {failed.returncode}: nothing to measure", file=sys.stderr)
                return int(failed.returncode)
            print(f"run {number}: {costs[-1].real_s:.1f} s", flush=True)
    print(f"after:  {machine()}\n\n{shown(costs)}\n")
    same = len({cost.digest for cost in costs}) == 1
    print(f"digests: {'all the same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
