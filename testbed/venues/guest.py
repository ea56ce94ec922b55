"""Runs happen in a guest kernel: an ordinary process of an ordinary user, on a virtual clock.

The guest boots with the host's files read-only, mounts the run folder writable and its Python library
(`testbed.venues.library`), and runs `testbed.emulate.guest`. It talks on its console: a line that
starts with @ is a JSON message ({"stage": …, "done": …, "of": …} or {"failed": …}), all else is for
people and for `console.log`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from testbed.job import LIBRARY, OUT, Job
from testbed.kernel import build
from testbed.kernel.boot import PROGRAMS_PATH, BootError, Machine, boot, memory_folder
from testbed.kernel.build import Kernel, KernelError
from testbed.kernel.group import ended, terminable
from testbed.venues import Lack, Progress, VenueError
from testbed.venues.library import THEIRS, seal

# What the roles start, and the Debian package it comes in.
PROGRAMS = {
    "bird": "bird2",
    "nginx": "nginx",
    "unbound": "unbound",
    "nsd": "nsd",
    "setarch": "util-linux",
    "taskset": "util-linux",
}
LIBRARIES = {"pyroute2": "pyroute2", "pycurl": "pycurl", "dns": "dnspython"}

# What the guest does before there is a Python; the folders come by number, so no path of this machine
# is part of it.
MOUNTS = (OUT, f"{LIBRARY}/ours", f"{LIBRARY}/theirs")


def begin(*words: str, mounts: Sequence[str] = MOUNTS) -> tuple[str, ...]:
    """The guest's first program: it mounts `mounts` and becomes our entry point, which is given `words`."""
    return "/bin/sh", "-c", " && ".join([
        "mount -t tmpfs none /run",
        f"mkdir -p {' '.join(mounts)}",
        *(f"mount -t hostfs -o /proc/self/fd/{3 + index} none {at}" for index, at in enumerate(mounts)),
        " ".join(("exec", os.path.realpath(sys.executable), "-S -m testbed.emulate.guest", *words)),
    ])  # fmt: skip


# OpenSSL reads the processor's time stamp counter and RDRAND, neither of which is seeded.
NO_HOST_RANDOMNESS = "~0x4000000000000010:~0x40000"

EVIDENCE_LINES = 40


class Watch:
    """What a guest's console has said so far: its progress, and what went wrong."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.stage = "boot"
        self.done = 0.0
        self.failed = ""
        self.starved = ""  # the guest kernel's own words when it ran out of memory
        self.panic = ""
        self.last: deque[str] = deque(maxlen=EVIDENCE_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> bool:
        """Take in what the console printed; whether there was a message from the testbed in it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return sum(self._line(line.decode(errors="replace").rstrip("\r")) for line in lines) > 0

    def _line(self, line: str) -> bool:
        if line.startswith("@"):
            try:
                message = json.loads(line[1:])
            except ValueError:
                message = None
            if isinstance(message, dict):
                self._message(message)
                return True
        self.last.append(line)
        if "Out of memory" in line:
            self.starved = self.starved or line
        elif "Kernel panic" in line:
            self.panic = self.panic or line[line.index("Kernel panic") :]
        return False

    def _message(self, message: dict[str, object]) -> None:
        if "failed" in message:
            self.failed = self.failed or str(message["failed"])
            return
        self.stage = str(message.get("stage", self.stage))
        self.done = float(str(message.get("done", 0)))
        self.progress(self.stage, self.done, float(str(message.get("of", 1))))

    @property
    def where(self) -> str:
        """How far it got: "virtual time 12.0 s"."""
        return f"{self.stage} {self.done:.1f} s" if "time" in self.stage else self.stage

    @property
    def evidence(self) -> str:
        """The end of the console, for people."""
        return "\n".join([*self.last, self._rest.decode(errors="replace")]).strip()

    def cause(self, code: int | None, memory_bytes: int) -> str:
        """Why a guest that ended with this code (minus the signal; None: it had to be stopped) failed."""
        if self.failed:
            return self.failed
        if self.starved:
            return (
                f"the guest ran out of memory at {self.where} (it has {memory_bytes // 2**20} MiB): "
                f"{self.starved}"
            )
        early = re.search(r"Attempted to kill init! exitcode=0x([0-9a-f]+)", self.panic)
        if early:
            return f"the guest's first program died at {self.where} ({_death(int(early[1], 16))})"
        if self.panic:
            return f"the guest kernel panicked at {self.where}: {self.panic}"
        if code is None:
            return f"the guest hung at {self.where}"
        if code < 0:
            return f"the guest was killed at {self.where} ({signal.Signals(-code).name})"
        return f"the guest stopped at {self.where} before the run was finished (exit {code})"


def _death(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


@dataclass(kw_only=True)
class Guest:
    """A User-Mode Linux guest on this machine."""

    kind: ClassVar[str] = "guest"

    memory_bytes: int = 2**30
    hang_s: float = 180.0  # of real time without a word from the guest; others may want the processor, too
    init: tuple[str, ...] = begin()

    @property
    def width(self) -> int:
        """One run a core: a guest is one thread."""
        return len(os.sched_getaffinity(0))

    def lacks(self) -> list[Lack]:
        """What is missing here, and the command that mends it."""
        if platform.system() != "Linux" or platform.machine() != "x86_64":
            return [
                Lack(
                    f"User-Mode Linux exists for Linux on x86-64 only; this is {platform.system()} on "
                    f"{platform.machine()}",
                    "run it on an x86-64 machine or in a virtual machine of one",
                )
            ]
        found = [
            Lack(f"the program {name}", f"sudo apt-get install {package}")
            for name, package in PROGRAMS.items()
            if shutil.which(name, path=PROGRAMS_PATH) is None
        ]
        found += [
            Lack(f"the Python library {name}", f"{sys.executable} -m pip install {package}")
            for name, package in LIBRARIES.items()
            if importlib.util.find_spec(name) is None
        ]
        if memory_folder(self.memory_bytes) is None:
            found.append(
                Lack(
                    f"a temporary folder with {self.memory_bytes // 2**20} MiB free that allows execution",
                    "export TMPDIR=FOLDER, one on a disk with room",
                )
            )
        else:
            found += self._kernel_lacks()
        return found

    def _kernel_lacks(self) -> list[Lack]:
        try:
            kernel = build.built()
        except KernelError as error:
            return [Lack(error.reason, error.fix)]
        if kernel is None:
            return [
                Lack(f"{package}, to build the guest kernel", f"sudo apt-get install {package}")
                for package in build.missing_tools()
            ]
        return self._boots(kernel)

    def _boots(self, kernel: Kernel) -> list[Lack]:
        """Start the smallest guest there is: a first program that ends at once."""
        watch = Watch(lambda *_: None)
        machine = Machine(memory_bytes=64 * 2**20)
        until_s = time.monotonic() + self.hang_s
        with (
            tempfile.TemporaryDirectory() as scratch,
            boot(kernel, machine, ["/bin/true"], {}, Path(scratch)) as guest,
        ):
            while data := _read(guest, until_s):
                watch.feed(data)
        if "exitcode=0x00000000" in watch.panic:
            return []
        return [
            Lack(
                f"the guest kernel does not start: {watch.evidence or 'it says nothing'}",
                "allow ptrace (docker run --cap-add SYS_PTRACE --security-opt seccomp=unconfined; "
                "sudo sysctl kernel.yama.ptrace_scope=1), or: testbed kernel build",
            )
        ]

    def run(self, job: Job, into: Path, progress: Progress) -> None:
        """Boot a guest on the job in `into` and follow it to its end."""
        need_programs(job)
        into = into.resolve()
        with terminable():
            try:
                kernel = build.ensure(progress)
            except KernelError as error:
                raise VenueError(str(error), error.evidence) from error
            try:
                with tempfile.TemporaryDirectory(dir=into, prefix="guest-") as scratch:
                    self._run(kernel, job, into, Path(scratch), progress)
            except BootError as error:
                raise VenueError(str(error)) from error

    def _run(self, kernel: Kernel, job: Job, into: Path, scratch: Path, progress: Progress) -> None:
        watch = Watch(progress)
        memory_bytes = job.memory_bytes or self.memory_bytes
        machine = Machine(memory_bytes=memory_bytes, clock=job.clock, seed=job.seed, epoch_ns=job.epoch_ns)
        with (
            (into / "console.log").open("wb", buffering=0) as console,
            boot(kernel, machine, self.init, environment(), scratch, [into, *libraries(job)]) as guest,
        ):
            code = self._follow(guest, watch, console)
        if code != 0 or watch.failed or watch.starved or not _finished(into):
            raise VenueError(watch.cause(code, memory_bytes), watch.evidence)

    def _follow(self, guest: subprocess.Popen[bytes], watch: Watch, console: IO[bytes]) -> int | None:
        """Read the console until the guest ends and return its code; None if it has to be stopped.

        A guest whose kernel killed a program for want of memory is not waited for: whatever it
        measured after that would be of another network.
        """
        until_s = time.monotonic() + self.hang_s
        while data := _read(guest, until_s):
            console.write(data)
            if watch.feed(data):
                until_s = time.monotonic() + self.hang_s
            if watch.starved:
                return None
        return None if data is None else ended(guest)


def _read(guest: subprocess.Popen[bytes], until_s: float) -> bytes | None:
    """What the guest prints next; empty when it has ended, None if it keeps silent too long."""
    assert guest.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(guest.stdout, selectors.EVENT_READ)
        left_s = until_s - time.monotonic()
        if left_s <= 0 or not selector.select(left_s):
            return None
    return os.read(guest.stdout.fileno(), 2**16)


def libraries(job: Job, *more: str) -> list[Path]:
    """Our own code with that of kinds and services from outside, and what it needs of others."""
    processes = [process for node in job.nodes for process in node.processes]
    named = {process.service for process in processes if process.service}
    named |= {process.config["policy"]["source"] for process in processes if "policy" in process.config}
    named |= {fault.source for fault in job.faults}
    named |= {each.source for each in job.traffic}
    named |= {session.abr_source for session in job.sessions if session.abr_source}
    outside = {name.partition(":")[0].partition(".")[0] for name in named} - {"testbed"}
    ours = seal(["testbed", *sorted(outside)], f"{LIBRARY}/ours")
    return [ours, seal([*THEIRS, *more], f"{LIBRARY}/theirs")]


def environment() -> dict[str, str]:
    """The environment of the guest's first program, the same on every machine."""
    return {
        "PATH": PROGRAMS_PATH,
        "HOME": "/tmp",  # noqa: S108 - the guest's own
        "LC_ALL": "C",  # any other locale reads the host's locale.alias, which not every Debian has
        "PYTHONUTF8": "1",
        "PYTHONPATH": f"{LIBRARY}/ours:{LIBRARY}/theirs",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENSSL_ia32cap": NO_HOST_RANDOMNESS,
    }


def need_programs(job: Job) -> None:
    """Refuse a job that starts programs this machine does not have."""
    wanted = {process.argv[0] for node in job.nodes for process in node.processes if process.argv}
    missing = sorted(name for name in wanted if shutil.which(name, path=PROGRAMS_PATH) is None)
    if missing:
        packages = " ".join(PROGRAMS.get(Path(name).name, Path(name).name) for name in missing)
        raise VenueError(f"no program {', '.join(missing)} here; sudo apt-get install {packages}")


def _finished(run: Path) -> bool:
    """Whether the guest came to its end and said so."""
    try:
        return bool(json.loads((run / "guest.json").read_text())["finished"])
    except (OSError, ValueError, KeyError):
        return False
