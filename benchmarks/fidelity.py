"""How true the emulated links are: what was configured, what packets showed, and whether that is near enough.

The same links and the same measurements as in the tests. On the virtual clock the table is the same on
every machine; on the wall clock it is the calibration of this one, at the load it had.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path

from testbed import provenance

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the guest finds its services there, too

import proving
import rows


def measured(clock: str, seed: int) -> list[proving.Finding]:
    """Have everything measured in one guest."""
    followed = proving.job_traces()
    if not followed:
        print(f"there is no {proving.TRACE}: no trace is followed", file=sys.stderr)
    trials, lasts_ns = proving.placed(clock, trace=bool(followed))
    with tempfile.TemporaryDirectory(prefix="testbed-fidelity-") as folder:
        tables = rows.run(
            "fidelity", trials, Path(folder), lasts_ns=lasts_ns, clock=clock, seed=seed, traces=followed
        )
        found = [find(tables) for find in proving.FINDINGS.values()]
    return [finding for finding in found if finding is not None]


def shown(findings: list[proving.Finding]) -> str:
    """The findings as a table."""
    lines = [("", "asked", "measured", "")]
    for finding in findings:
        told = f"{_number(finding.measured)} {finding.unit}".strip()
        lines.append((finding.what, _range(finding), told, "" if finding.holds else "NOT HELD"))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        f"{what:<{widths[0]}}  {asked:>{widths[1]}}  {told:>{widths[2]}}  {verdict}".rstrip()
        for what, asked, told, verdict in lines
    )


def _range(finding: proving.Finding) -> str:
    low = _number(finding.low)
    if math.isinf(finding.high):
        return f"at least {low}"
    high = _number(finding.high)
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.5g}"


def main() -> int:
    """Measure, and print; exit code 1 if something lies outside its range."""
    parser = argparse.ArgumentParser(
        description="Measure what links do to packets against what they were configured as.",
        epilog="example: .venv/bin/python benchmarks/fidelity.py --clock wall -f json > calibration.json",
    )
    parser.add_argument("--clock", choices=("virtual", "wall"), default="virtual", help="the guest's clock")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="seed of all that is drawn (7)")
    parser.add_argument("-f", "--format", choices=("table", "json"), default="table", help="how to print it")
    asked = parser.parse_args()
    before = os.getloadavg()
    findings = measured(asked.clock, asked.seed)
    if asked.format == "json":
        record = {
            "clock": asked.clock, "seed": asked.seed, "host": provenance.host(),
            "load_before": before, "load_after": os.getloadavg(),
            "findings": [
                {
                    "what": each.what, "low": each.low, "high": None if math.isinf(each.high) else each.high,
                    "measured": each.measured, "unit": each.unit, "holds": bool(each.holds),
                }
                for each in findings
            ],
        }  # fmt: skip
        print(json.dumps(record, indent=1))
    else:
        host = provenance.host()
        print(f"{host['cpu']}, {host['cores']} cores, load {before[0]:.2f}; {asked.clock} clock\n")
        print(shown(findings))
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
