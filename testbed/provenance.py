"""What a run was made with and what it left: versions, the host, and digests of the results."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import testbed

RESULTS = ("captures/*.pcap", "tables/*.parquet", "events.jsonl")

# Those that can change a result: what shapes the network, and what writes the tables.
_PACKAGES = ("mininet", "pyroute2", "pycurl", "dnspython", "polars", "pyarrow", "duckdb", "numpy")


def digests(run: Path) -> dict[str, str]:
    """The SHA-256 of every result file, by its path in the run folder."""
    found = sorted(path for pattern in RESULTS for path in run.glob(pattern))
    told = {}
    for path in found:
        with path.open("rb") as file:
            told[path.relative_to(run).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return told


def digest(files: Mapping[str, str]) -> str:
    """One digest over all result files, as `sha256sum` would list them."""
    listed = "".join(f"{value}  {name}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def versions() -> dict[str, str]:
    """The versions of the testbed, of Python, and of the packages that can change a result."""
    told = {"testbed": testbed.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            told[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # the host needs no mininet to run a guest that has it
            continue
    return told


def host() -> dict[str, str | int]:
    """The machine, as far as it matters for speed; nothing that names it."""
    return {"cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0)), "os": platform.system()}


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
