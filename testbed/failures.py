"""Every way a command can fail, as a message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from typing import Any

from testbed import pipeline
from testbed.configurations import Misconfigured
from testbed.terminal import say
from testbed.venues import Lack, VenueError

REFUSED, LACKING, UNTRUSTED, INTERRUPTED = 2, 3, 4, 130


def exit_code(problem: Any) -> int:
    """Say what went wrong, without a traceback, and give the exit code that stands for it."""
    if _is(problem, "testbed.model", "Refused"):
        for line in problem.problems:
            say(str(line))
        return REFUSED
    if isinstance(problem, pipeline.NoSuchRun) or _is(problem, "testbed.measure.tables", "QueryError"):
        say(f"testbed: {problem}")
        return REFUSED
    if isinstance(problem, Misconfigured):
        for line in str(problem).splitlines():
            say(line)
        say("testbed: routing daemons do not take their configurations; nothing was started")
        say("  'testbed plan FILE --policy --node NAME' prints them")
        return REFUSED
    if isinstance(problem, pipeline.Unfinished):
        say(f"testbed: {problem}")
        return UNTRUSTED
    if isinstance(problem, pipeline.Lacking):
        say(f"testbed: the venue {problem.venue} is not ready:")
        say_lacks(problem.lacks)
        return LACKING
    if _is(problem, "testbed.kernel.build", "KernelError"):
        say(f"testbed: the guest kernel cannot be built: {problem.reason}")
        for line in problem.evidence.splitlines()[-20:]:
            say(f"  | {line}")
        say(f"  mend it with: {problem.fix}")
        return LACKING
    if _is(problem, "testbed.measure.native", "NotCompiled"):
        say(f"testbed: {problem}")
        return LACKING
    if isinstance(problem, VenueError):
        say_unfinished(problem.reason, problem.evidence)
        return LACKING
    if isinstance(problem, pipeline.Interrupted):
        say("testbed: interrupted; nothing is left running")
        say(f"  logs and events so far lie in {problem.run}")
        say("  there are no tables and no verdict; run it again for these")
        return INTERRUPTED
    if isinstance(problem, KeyboardInterrupt):
        say("testbed: interrupted")
        return INTERRUPTED
    if isinstance(problem, OSError):
        what = problem.strerror or str(problem)
        say(f"testbed: {what}: {problem.filename}" if problem.filename else f"testbed: {what}")
        return LACKING
    return _internal(problem)


def passes(problem: BaseException) -> bool:
    """Whether the command line deals with it itself: usage errors, exits, a closed pipe."""
    if isinstance(problem, OSError):
        return problem.errno == errno.EPIPE
    return hasattr(problem, "exit_code") or type(problem).__name__ == "Abort"


def say_lacks(lacks: tuple[Lack, ...]) -> None:
    """Name each thing that is missing, and the command that mends it."""
    for lack in lacks:
        say(f"  {lack.what}")
        say(f"    mend it with: {lack.fix}")


def say_unfinished(reason: str, evidence: str) -> None:
    """Say why a run did not finish, with the end of its console log."""
    say(f"testbed: the run did not finish: {reason}")
    for line in evidence.splitlines()[-20:]:
        say(f"  | {line}")


def _is(problem: BaseException, module: str, name: str) -> bool:
    """Whether it is of that class: what was never imported raised nothing, and may be slow to import."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(problem, getattr(loaded, name))


def _internal(problem: BaseException) -> int:
    """A mistake of ours: keep the traceback where a bug report can take it from."""
    handle, path = tempfile.mkstemp(prefix="testbed-", suffix=".traceback")
    with os.fdopen(handle, "w") as file:
        file.writelines(traceback.format_exception(problem))
    say(f"testbed: internal error: {type(problem).__name__}: {problem}")
    say(f"  please report it with {path}")
    return UNTRUSTED
