"""What a run was made with and what it left: versions, the host, and digests of the results."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import testbed
from testbed.kernel import build
from testbed.kernel.boot import PROGRAMS_PATH
from testbed.kernel.build import KernelError

RESULTS = ("captures/*.pcap", "tables/*.parquet", "events.jsonl")

# Those that can change a result: what shapes the network, what runs in it, and what writes the tables.
_PACKAGES = ("pyroute2", "pycurl", "dnspython", "cryptography", "polars", "pyarrow", "duckdb", "numpy")
_PROGRAMS = {
    "bird": ("bird", "--version"), "frr": ("/usr/lib/frr/zebra", "--version"), "nginx": ("nginx", "-v"),
    "unbound": ("unbound", "-V"), "nsd": ("nsd", "-v"), "stayrtr": ("stayrtr", "-version"),
}  # fmt: skip


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
    """The versions of the testbed and of all that can change a result; what is not here is left out."""
    told = {"testbed": testbed.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            told[package] = metadata.version(package)
    for name, command in _PROGRAMS.items():
        if number := _says(*command):
            told[name] = number
    if debian := _debian():
        told["debian packages"] = debian
    with contextlib.suppress(KernelError):
        if kernel := build.built():
            told["guest kernel"] = f"{kernel.release} ({kernel.key})"
    return told


def _says(program: str, option: str) -> str:
    """The first version number that a program prints of itself; nothing if it is not installed."""
    found = shutil.which(program, path=PROGRAMS_PATH)
    if found is None:
        return ""
    said = subprocess.run(
        [found, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20
    )
    number = re.search(r"\d+\.\d[\w.+~-]*", said.stdout + said.stderr)
    return number.group() if number else ""


def _debian() -> str:
    """How many Debian packages are installed, and a digest of their names and revisions."""
    if shutil.which("dpkg-query") is None:
        return ""
    asked = ["dpkg-query", "-W", "-f", "${binary:Package} ${Version}\\n"]
    listed = subprocess.run(asked, capture_output=True, check=False).stdout
    return f"{listed.count(10)} ({hashlib.sha256(listed).hexdigest()[:16]})"


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
