"""The routing daemons of a job, and their configurations, which they check before a network comes up."""

from __future__ import annotations

import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import registry
from testbed.daemons import READY, Daemon
from testbed.kernel.boot import PROGRAMS_PATH

if TYPE_CHECKING:
    from testbed.job import Job, Node

_PATIENCE_S = 60.0


class Misconfigured(Exception):
    """Routing daemons that do not take what they are told; the message has a line for each node."""


def daemon_of(node: Node) -> type[Daemon] | None:
    """The kind of routing daemon that runs on a node; None if none does."""
    for process in node.processes:
        ready, _, source = process.ready.partition(":")
        if ready == READY:
            return registry.sourced(source)
    return None


def configuration_of(node: Node) -> dict[str, str]:
    """The files of a node's routing daemon, by path."""
    daemon = daemon_of(node)
    names = daemon.configuration if daemon else ()
    return {path: text for path, text in node.files.items() if path.rpartition("/")[2] in names}


def check(job: Job) -> None:
    """Have each node's daemon read its configuration; Misconfigured says what is wrong with which of them."""
    with (
        tempfile.TemporaryDirectory(prefix="testbed-") as scratch,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        problems = [
            each for found in pool.map(lambda node: _problems(node, scratch), job.nodes) for each in found
        ]
    if problems:
        raise Misconfigured("\n".join(problems))


def _problems(node: Node, scratch: str) -> list[str]:
    """What a node's daemon has against its files, which are laid out below `scratch`."""
    kind = daemon_of(node)
    if kind is None:
        return []
    folder = Path(scratch, node.name)
    folder.mkdir()
    for path, text in configuration_of(node).items():
        (folder / Path(path).name).write_text(text)
    daemon, found = kind(str(folder)), []
    for command in daemon.check():
        said = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=_PATIENCE_S, env=os.environ | {"PATH": PROGRAMS_PATH},
        )  # fmt: skip
        if said.returncode:
            told = daemon.complaint(said.stdout).replace(f"{folder}/", "")
            found.append(f"{node.name}: {Path(command[-1]).name}: {told or f'exit code {said.returncode}'}")
    return found
