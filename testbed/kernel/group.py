"""A program and all that it starts end when the block that runs them does."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn


@contextmanager
def group(
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    terminal: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own; when the block is left, however, the group is dead.

    Its standard input is empty, and what it prints on either output is read from `stdout`; or all three
    are a `terminal`, given as a file descriptor. The Ctrl-C of the terminal that we were started from
    does not reach it, so that it ends here and in no other order.
    """
    program = subprocess.Popen(
        argv,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with program:
        try:
            yield program
        finally:
            # As long as the leader is not reaped, its number names this group and no other.
            if program.returncode is None:
                os.killpg(program.pid, signal.SIGKILL)


def ended(program: subprocess.Popen[bytes]) -> int:
    """Wait until a program ends and return its code (minus the signal), leaving it to be reaped."""
    status = os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    if status is None:
        raise ChildProcessError(program.pid)
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that what was begun is cleaned up.

    Only Python's main thread can arrange this; elsewhere, and where the program around us has a
    handler of its own, nothing changes.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def unwind(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
