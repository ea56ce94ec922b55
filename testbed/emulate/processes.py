"""The processes of the emulated nodes: started in their namespaces, killed without mercy, started again.

A program is executed; a service of ours runs in a fork of this interpreter, which has its modules
loaded already: starting another Python costs the guest a tenth of a second each.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed import namespaces, registry
from testbed.daemons import READY, Daemon
from testbed.job import Job, Process

_WHOLE_SECONDS, _ASK = 0x2000000, 0xFFFFFFFF  # personality(2)
_POLL_S = 0.01
_POLL_DAEMON_S = 0.25  # BGP takes seconds to come up, and asking has its price
# Of the run's clock; a BGP session whose first attempt failed may wait a minute before the next.
_PATIENCE_S = 120.0


class ProcessError(RuntimeError):
    """A process that ended, or did not get ready; the message ends with its log's last lines."""


@dataclass
class _Running:
    process: Process
    node: str
    pid: int


class Processes:
    """Everything that runs on the nodes; it needs to be the reaper of all (process 1 or a subreaper)."""

    def __init__(self, job: Job, namespace: Callable[[str], int], logs: Path, nodes: Path) -> None:
        self._job = job
        self._namespace = namespace
        self._logs = logs
        self._nodes = nodes
        self._running: dict[tuple[str, str], _Running] = {}
        self._stops: dict[tuple[str, str], int] = {}
        self._freezes = Counter[tuple[str, str]]()

    def load(self, *services: str) -> None:
        """Import the modules of these services and of all those of the job, once for all processes."""
        named = {process.service for node in self._job.nodes for process in node.processes if process.service}
        for service in sorted(named | set(services)):
            importlib.import_module(service.partition(":")[0])

    def lay_out(self) -> None:
        """Write every node's files."""
        for node in self._job.nodes:
            for path, text in node.files.items():
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(text)

    def start_all(self, *, needing_routes: bool, started: Callable[[int], None]) -> None:
        """Start all processes that need routes, or all that do not, and wait until each is ready.

        `started` is told after each how many there are so far.
        """
        begun = [
            self._start(node.name, process)
            for node in self._job.nodes
            for process in node.processes
            if process.needs_routes == needing_routes
        ]
        for count, running in enumerate(begun, start=1):
            self._await(running)
            started(count)

    def start_shared(self, process: Process) -> None:
        """Start a service that serves many nodes and so belongs to none, and wait until it is ready."""
        self._await(self._start("", process))

    def running(self, node: str) -> list[str]:
        """The names of a node's processes that are alive."""
        self._reap()
        return sorted(key[1] for key in self._running if key[0] == node and not self._freezes[key])

    @contextmanager
    def stopped(self, node: str, names: tuple[str, ...]) -> Iterator[None]:
        """SIGKILL some of a node's processes; when the last who wanted them dead leaves, start them again."""
        for name in names:
            self._stops[node, name] = self._stops.get((node, name), 0) + 1
            if self._stops[node, name] == 1:
                self._kill(node, name, signal.SIGKILL)
        try:
            yield
        finally:
            back = []
            for name in names:
                self._stops[node, name] -= 1
                if self._stops[node, name] == 0:
                    process = next(p for p in self._job.node(node).processes if p.name == name)
                    back.append(self._start(node, process))
            for running in back:
                self._await(running, sessions=False)

    @contextmanager
    def frozen(self, node: str, names: tuple[str, ...]) -> Iterator[None]:
        """SIGSTOP some of a node's processes; when the last who wanted them so leaves, let them go on."""
        for name in names:
            self._freezes[node, name] += 1
            self._signal(node, name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self._freezes[node, name] -= 1
                if not self._freezes[node, name]:
                    self._signal(node, name, signal.SIGCONT)

    def stop_all(self) -> None:
        """End everything, services first so that they can write what they know."""
        for node, name in sorted(self._running, key=lambda key: not self._running[key].process.service):
            self._kill(node, name, signal.SIGTERM)

    def await_end(self, node: str, name: str) -> None:
        """Return when a process that ends by itself has ended; ProcessError if it takes too long."""
        until = time.monotonic() + _PATIENCE_S
        while name in self.running(node):
            if time.monotonic() > until:
                raise ProcessError(f"{node or 'the run'}/{name} did not end{self._tail((node, name))}")
            time.sleep(_POLL_S)

    def ended(self) -> list[str]:
        """Processes that should run and do not, as `node/name`."""
        self._reap()
        wanted = {(n.name, p.name) for n in self._job.nodes for p in n.processes}
        stopped = {key for key, count in self._stops.items() if count}
        return sorted("/".join(key) for key in wanted - set(self._running) - stopped)

    def _start(self, node: str, process: Process) -> _Running:
        log = self._logs / node / f"{process.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if process.ready.startswith(f"{READY}:"):
            for left in (self._nodes / node).glob("*.ctl"):  # a killed daemon's socket
                left.unlink()
        pid = self._execute(node, process, log) if process.argv else self._fork(node, process, log)
        running = _Running(process, node, pid)
        self._running[node, process.name] = running
        if self._freezes[node, process.name]:
            os.kill(pid, signal.SIGSTOP)
        return running

    def _execute(self, node: str, process: Process, log: Path) -> int:
        """Start a program; posix_spawn does not copy this interpreter's page tables, as fork would."""
        home = self._nodes / node
        home.mkdir(parents=True, exist_ok=True)
        here = Path.cwd()
        os.chdir(home)
        try:
            with namespaces.inside(self._namespace(node)), _marked(process.reads_counter):
                return os.posix_spawnp(
                    process.argv[0],
                    process.argv,
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                        (os.POSIX_SPAWN_DUP2, 1, 2),
                    ],
                    setsid=True,
                )
        finally:
            os.chdir(here)

    def _fork(self, node: str, process: Process, log: Path) -> int:
        """Start a service of ours in a copy of this interpreter."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            null = os.open("/dev/null", os.O_RDONLY)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for descriptor, number in ((null, 0), (out, 1), (out, 2)):
                os.dup2(descriptor, number)
            if node:
                namespaces.enter(self._namespace(node))
            module, _, function = process.service.partition(":")
            getattr(importlib.import_module(module), function)(process.config)
            sys.stdout.flush()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing may return into the parent's code
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)

    def _await(self, running: _Running, *, sessions: bool = True) -> None:
        """Return when a process is ready; `sessions` also waits for a daemon's sessions and neighbours."""
        kind, _, what = running.process.ready.partition(":")
        if not kind:
            return
        until = time.monotonic() + _PATIENCE_S
        while not self._ready(running, kind, what, sessions=sessions):
            self._reap()
            key = (running.node, running.process.name)
            if self._running.get(key) is not running:
                raise ProcessError(f"{'/'.join(key)} ended while starting{self._tail(key)}")
            if time.monotonic() > until:
                raise ProcessError(f"{'/'.join(key)} was not ready in {_PATIENCE_S:g} s{self._tail(key)}")
            time.sleep(_POLL_DAEMON_S if kind == READY else _POLL_S)

    def _ready(self, running: _Running, kind: str, what: str, *, sessions: bool) -> bool:
        if kind == READY:
            daemon = self._daemon(running.node, what)
            return daemon.settled() if sessions else daemon.answers()
        if kind == "file":
            return Path(what).exists()
        if kind in ("tcp", "udp"):
            with namespaces.inside(self._namespace(running.node)):
                return bound(kind, int(what))
        raise ValueError(f"{running.process.name}: ready is {kind!r}, not tcp, udp, daemon or file")

    def daemon(self, node: str) -> Daemon:
        """The routing daemon of a node; KeyError if none runs there."""
        for process in self._job.node(node).processes:
            kind, _, source = process.ready.partition(":")
            if kind == READY:
                return self._daemon(node, source)
        raise KeyError(node)

    def _daemon(self, node: str, source: str) -> Daemon:
        daemon: Daemon = registry.sourced(source)(f"{self._nodes / node}")
        return daemon

    def _signal(self, node: str, name: str, number: int) -> None:
        if running := self._running.get((node, name)):
            os.killpg(running.pid, number)

    def _kill(self, node: str, name: str, number: int) -> None:
        running = self._running.get((node, name))
        if running is None:
            return
        os.killpg(running.pid, number)
        while self._running.get((node, name)) is running:
            self._reap()
            time.sleep(_POLL_S)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for key, running in list(self._running.items()):
                if running.pid == pid:
                    del self._running[key]

    def _tail(self, key: tuple[str, str]) -> str:
        log = self._logs / key[0] / f"{key[1]}.log"
        lines = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else []
        return "".join(f"\n  {line}" for line in lines)


def bound(kind: str, port: int) -> bool:
    """Whether a socket of either family in this namespace has the port, of tcp one that listens."""
    state = "0A" if kind == "tcp" else "07"
    for family in ("", "6"):
        table = Path(f"/proc/thread-self/net/{kind}{family}")
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == state:
                return True
    return False


@contextmanager
def _marked(reads_counter: bool) -> Iterator[None]:
    """Start programs that read the processor's counter so that the guest kernel can tell (edits.py)."""
    libc = ctypes.CDLL(None)
    before = libc.personality(_ASK)
    libc.personality(before | _WHOLE_SECONDS if reads_counter else before)
    try:
        yield
    finally:
        libc.personality(before)
