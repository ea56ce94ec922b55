"""A person sits at the console of a guest: their terminal and the guest's are joined by a pseudo-terminal.

The guest boots on the wall clock and runs `testbed.emulate.shell`. Until that says that it is ready,
the console's lines are progress, as in a run; from then on every byte goes from one side to the other,
and line editing, echo and Ctrl-C are the business of the guest's own terminal driver.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import selectors
import signal
import tempfile
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from testbed.job import HERE, Job
from testbed.kernel.boot import BootError, Machine, boot
from testbed.kernel.build import Kernel
from testbed.kernel.group import terminable
from testbed.venues import Progress, VenueError
from testbed.venues.guest import MOUNTS, Guest, Watch, begin, environment, libraries, need_programs

READY = b'@{"stage": "ready"'


class Console:
    """The console of a guest that is booting, then of its shell."""

    def __init__(self, out: Path, terminal: int, *, listen: bool) -> None:
        self._out = out
        self._terminal = terminal
        self._listen = listen  # to what is typed here
        self._first = b""  # of what the shell prints

    def await_shell(self, progress: Progress) -> None:
        """Show how far the network is until its shell is ready; VenueError if it never will be."""
        watch = Watch(progress)
        waiting = b""
        while READY not in waiting:
            data = _read(self._terminal)
            if not data:
                raise VenueError(watch.cause(0, 0), watch.evidence)
            watch.feed(data)
            waiting = (waiting + data)[-(2**16) :]
        self._first = waiting.partition(READY)[2].partition(b"\n")[2]

    def talk(self) -> int:
        """Join the terminals until the shell is left: 0, or 1 if a command was not understood."""
        with _raw(self._terminal) if self._listen and os.isatty(0) else nullcontext():
            _write(1, self._first)
            _join(self._terminal, listen=self._listen)
        ended = self._out / "shell.ended"
        if not ended.exists():
            raise VenueError("the guest stopped before its shell was left")
        return int(ended.read_text())


@contextmanager
def opened(kernel: Kernel, guest: Guest, job: Job, here: Path, commands: Sequence[str]) -> Iterator[Console]:
    """Boot a guest on the job; when the block is left, it is gone and all that it wrote, but in `here`.

    `here` is the folder that the shell writes its captures to. With `commands` it runs these and ends.
    """
    need_programs(job)
    with terminable(), tempfile.TemporaryDirectory(prefix="testbed-shell-") as name, _terminals() as ends:
        out, scratch = Path(name, "out"), Path(name, "guest")
        out.mkdir()
        scratch.mkdir()
        (out / "job.json").write_text(job.dumps())
        (out / "shell.json").write_text(json.dumps(list(commands)))
        init = begin("testbed.emulate.shell", mounts=[*MOUNTS, HERE])
        machine = Machine(memory_bytes=guest.memory_bytes, clock="wall")
        folders = [out, *libraries(job, "mininet"), here]
        try:
            with boot(kernel, machine, init, environment(), scratch, folders, ends[1]):
                os.close(ends.pop())  # so that reading ends when the guest does
                yield Console(out, ends[0], listen=not commands)
        except BootError as error:
            raise VenueError(str(error)) from error


@contextmanager
def _terminals() -> Iterator[list[int]]:
    """Our end of a pseudo-terminal and the guest's; whichever is still there is closed after."""
    ends = list(os.openpty())
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _join(console: int, *, listen: bool) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(console, selectors.EVENT_READ)
        if listen:
            selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == console:
                    data = _read(console)
                    if not data:
                        return
                    _write(1, data)
                    continue
                typed = os.read(0, 2**12)
                if not typed:
                    selector.unregister(0)
                _write(console, typed or b"\x04")  # the end of a file is Ctrl-D


@contextmanager
def _raw(console: int) -> Iterator[None]:
    """Have every key go to the guest as it is, Ctrl-C too, and tell it the size of the window."""

    def resize(*_: object) -> None:
        fcntl.ioctl(console, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, resize)
    resize()
    tty.setraw(0, termios.TCSADRAIN)  # the default throws away what was typed ahead
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def _read(console: int) -> bytes:
    """What the console prints next; empty when nobody has it open any more."""
    try:
        return os.read(console, 2**16)
    except OSError as problem:
        if problem.errno == errno.EIO:
            return b""
        raise


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
