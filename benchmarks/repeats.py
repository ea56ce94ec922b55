"""Benchmarks ask finished runs: a scenario is run with a seed, and a query gives what came of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from testbed.measure.tables import Tables


def rows(scenario: Path, folder: Path, seed: int, *queries: str) -> list[tuple[Any, ...]]:
    """The rows of the queries, one after the other, of a run that is thrown away then.

    SystemExit with what was said if the run did not finish.
    """
    command = [
        sys.executable, "-m", "testbed", "run", str(scenario), "--seed", str(seed),
        "--out", str(folder / "runs"), "-q", "-f", "json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"seed {seed}: exit {done.returncode}: {done.stderr or done.stdout}")
    tables = Tables(Path(json.loads(done.stdout)["run"]))
    found = [row for query in queries for row in tables.sql(query)]
    shutil.rmtree(folder / "runs")
    return found
