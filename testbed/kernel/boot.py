"""A guest is an ordinary process: the kernel as a program, the host's files as its root.

The root is mounted read-only; what the guest may write, it mounts itself. Nothing of the
environment it is started from reaches it, and its memory is an unlinked file that is gone when it is.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel import cores
from testbed.kernel.build import Kernel
from testbed.kernel.group import group

PROGRAMS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

LONGEST = 4095  # COMMAND_LINE_SIZE of arch/um, less its final 0
MOST_WORDS = 128  # CONFIG_INIT_ENV_ARG_LIMIT in arch/um, for the arguments and for the environment

# Words that User-Mode Linux takes for itself wherever they stand on its command line.
TAKEN = (
    "--help", "--showconfig", "--version", "console=", "debug", "dtb=", "hostfs=", "initrd=", "iomem=",
    "mem=", "noreboot", "quiet", "root=", "uml_dir=", "umid=", "xterm=",
)  # fmt: skip


class BootError(ValueError):
    """A guest that cannot be started as asked; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a guest is given: memory, a clock, its randomness, and the time at which it begins."""

    memory_bytes: int
    clock: str = "virtual"  # or wall
    seed: int = 0
    epoch_ns: int = 0  # Unix time at which a virtual clock starts; a wall clock shows the host's


def arguments(machine: Machine, init: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The words after `linux`: what the kernel reads, then init's environment, then its arguments."""
    words = [
        f"mem={machine.memory_bytes // 2**20}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        "console=tty0",  # else UML appends it, behind our last argument
        "con=null",
        "con0=fd:0,fd:1",
        "quiet",
        "noreboot",
        f"init={init[0]}",
    ]
    if machine.clock == "virtual":
        words += ["time-travel=inf-cpu", f"time-travel-start={machine.epoch_ns}"]
    words += [_word(f"{name}={value}") for name, value in environment.items()]
    if len(init) > 1:
        words += ["--", *(_word(argument) for argument in init[1:])]
    length = len(" ".join(words))
    if length > LONGEST:
        raise BootError(f"the guest's command line is {length} bytes long and may have {LONGEST}")
    if max(len(init), len(environment)) > MOST_WORDS - 4:  # the kernel adds some of its own
        raise BootError(f"init may have {MOST_WORDS - 4} arguments and as many variables")
    return words


def _word(text: str) -> str:
    """One word of a kernel command line, quoted as the kernel understands it."""
    if '"' in text or "\n" in text:
        raise BootError(f"{text!r} holds a quote or a line break, which a kernel command line cannot")
    if text.startswith(TAKEN):
        raise BootError(f"{text!r} would be taken by User-Mode Linux itself")
    name, equals, value = text.partition("=")
    if not any(letter.isspace() for letter in text) and text:
        return text
    return f'{name}="{value}"' if equals and " " not in name else f'"{text}"'


def memory_folder(memory_bytes: int) -> Path | None:
    """Where a guest's memory can lie: on tmpfs if there is room, else in a temporary folder.

    It has to allow execution, for the guest's programs run from its memory; a container's /dev/shm
    often does not, or is too small.
    """
    for candidate in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp"):  # noqa: S108
        try:
            state = os.statvfs(candidate)
        except OSError:
            continue
        executable = not state.f_flag & os.ST_NOEXEC
        if executable and os.access(candidate, os.W_OK) and state.f_bavail * state.f_frsize >= memory_bytes:
            return Path(candidate)
    return None


def _holding(folders: Sequence[Path]) -> list[str]:
    """The words before a command that give it these folders as open files, from number 3 up.

    Each is locked for as long as any process has it open (flock(2), shared), so that others can tell.
    """
    if not folders:
        return []
    numbers = range(3, 3 + len(folders))
    opened = " ".join(f'{number}<"${number - 2}"' for number in numbers)
    locked = "; ".join(f"flock -s {number}" for number in numbers)
    script = f'exec {opened}; {locked}; shift {len(folders)}; exec "$@"'
    return ["/bin/sh", "-c", script, "sh", *map(str, folders)]


@contextmanager
def boot(
    kernel: Kernel,
    machine: Machine,
    init: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    folders: Sequence[Path] = (),
    terminal: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a guest whose first program is `init`; its console is `stdout`, or a `terminal` of ours.

    The guest can mount `folders` by number, wherever they lie: `mount -t hostfs -o /proc/self/fd/3 …`
    is the first, 4 the second.

    When the block is left, however, no process of it is alive. `scratch` is an empty folder that
    User-Mode Linux keeps its process number in.
    """
    memory = memory_folder(machine.memory_bytes)
    if memory is None:
        raise BootError(
            f"no temporary folder has {machine.memory_bytes // 2**20} MiB free and allows execution; "
            "set TMPDIR to one that does"
        )
    outside = {
        "PATH": PROGRAMS_PATH,
        "HOME": str(scratch),  # there it makes .uml/
        "TMPDIR": str(memory),
        "LD_PRELOAD": str(kernel.seeded),
        "TESTBED_SEED": str(int.from_bytes(hashlib.sha256(str(machine.seed).encode()).digest()[:8])),
        "TESTBED_PARENT": str(os.getpid()),
    }
    words = arguments(machine, init, environment)
    # On the wall clock the host has to be free to find a core for it at once, whatever else it has to do.
    with cores.kept() if machine.clock == "virtual" else nullcontext() as core:
        there = [] if core is None else ["taskset", "-c", str(core)]
        # Without setarch the host would place the guest kernel's memory at random.
        argv = [*_holding(folders), *there, "setarch", "-R", str(kernel.linux), *words]
        with group(argv, outside, terminal=terminal) as guest:
            yield guest
