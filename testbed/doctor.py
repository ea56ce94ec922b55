"""The doctor names what every venue lacks here, and the versions of what it found."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, cast

import testbed
from testbed.kernel import build
from testbed.kernel.boot import PROGRAMS_PATH
from testbed.kernel.build import KernelError
from testbed.registry import kinds

if TYPE_CHECKING:
    from testbed.venues import Lack, Venue

ASKED = {
    "bird": "--version",
    "nginx": "-v",
    "unbound": "-V",
    "nsd": "-v",
    "tshark": "--version",
    "gcc": "--version",
}
LIBRARIES = (
    "mininet",
    "pyroute2",
    "pycurl",
    "dnspython",
    "pydantic",
    "polars",
    "duckdb",
    "pyarrow",
    "cryptography",
)


def diagnose() -> dict[str, list[Lack]]:
    """What each venue found by the registry lacks on this machine; an empty list is a ready venue."""
    return {name: cast("Venue", venue()).lacks() for name, venue in kinds("venues").items()}


def versions() -> dict[str, str]:
    """The versions of what runs depend on; what is not installed is left out."""
    found = {
        "testbed": testbed.__version__,
        "python": platform.python_version(),
        "host kernel": platform.release(),
    }
    kernel = _guest_kernel()
    if kernel is not None:
        found["guest kernel"] = kernel
    for program, option in ASKED.items():
        number = _program_version(program, option)
        if number is not None:
            found[program] = number
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _guest_kernel() -> str | None:
    try:
        kernel = build.built()
    except KernelError:
        return None
    return None if kernel is None else f"{kernel.release} ({kernel.key})"


def _program_version(program: str, option: str) -> str | None:
    """The first version number a program prints about itself."""
    found = shutil.which(program, path=PROGRAMS_PATH)
    if found is None:
        return None
    said = subprocess.run(
        [found, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20
    )
    number = re.search(r"\d+\.\d[\w.+~-]*", said.stdout + said.stderr)
    return number.group() if number else None
