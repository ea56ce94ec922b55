"""The guest kernel is built once a machine and kept in the user's cache.

Its folder is named by the source's version and by a hash of all that goes in, and appears whole or
not at all: it is put together beside its place and renamed. Debian ships the source as
`linux-source-6.x`; any tarball of 6.1 or later of the same form does (TESTBED_KERNEL_SOURCE).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel.edits import EDITS
from testbed.kernel.group import ended, group, terminable

Progress = Callable[[str, float, float], None]  # stage, done, of

CONFIG = Path(__file__).with_name("guest.config")
SEEDED = Path(__file__).with_name("seeded.c")
LINE = Path(__file__).with_name("sch_line.c")  # our queueing discipline, built in as one of the kernel's own

# Parts of the source that a UML build for x86 reads nothing of. Kconfig files stay: all of them are
# parsed. Leaving these packed halves the time and takes three quarters off the space.
UNNEEDED = (
    "*/Documentation/*",
    "*/tools/testing/*",
    "*/tools/perf/*",
    "*/samples/*.c",
    "*/sound/*.[ch]",
    "*.dts",
    "*.dtsi",
    *(f"*/arch/{name}*/*.[chS]" for name in ("[a-t]", "[v-w]", "xtensa")),
    *(
        f"*/drivers/{name}/*.[ch]"
        for name in (
            "accel", "clk", "crypto", "gpu", "hid", "iio", "infiniband", "media", "mfd", "mtd",
            "net/ethernet", "net/wireless", "pinctrl", "power", "regulator", "scsi", "soc", "spi",
            "staging", "usb", "video",
        )
    ),
)  # fmt: skip

CONFIGURE = ("make", "ARCH=um", "KCONFIG_ALLCONFIG=fragment", "allnoconfig")
COMPILE = ("make", "ARCH=um", "linux")
PRELOAD = ("gcc", "-O2", "-shared", "-fPIC", "-o", "seeded.so", "seeded.c")
STAMP = {
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
    "KBUILD_BUILD_USER": "testbed",
    "KBUILD_BUILD_HOST": "testbed",
}
OBJECTS = 714  # C files of this configuration in 6.12; near enough for a progress bar elsewhere

TOOLS = {
    "gcc": "gcc libc6-dev",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "xz": "xz-utils",
    "tar": "tar",
}  # program -> Debian packages
INSTALL = "sudo apt-get install gcc libc6-dev make flex bison bc xz-utils linux-source-6.12"


class KernelError(RuntimeError):
    """The guest kernel cannot be had: which step failed, what to do, and the end of its log."""

    def __init__(self, reason: str, fix: str, evidence: str = "") -> None:
        super().__init__(f"{reason}; {fix}")
        self.reason = reason
        self.fix = fix
        self.evidence = evidence


@dataclass(frozen=True)
class Kernel:
    """A built kernel: the program, the library preloaded into it, its release, and its key."""

    linux: Path
    seeded: Path
    release: str  # "6.12.117"
    key: str


def source() -> Path:
    """The newest kernel source on this machine, or TESTBED_KERNEL_SOURCE; KernelError if none."""
    chosen = os.environ.get("TESTBED_KERNEL_SOURCE")
    if chosen:
        if not Path(chosen).is_file():
            raise KernelError(
                f"TESTBED_KERNEL_SOURCE names {chosen}, which is no file",
                "name a linux-source tarball, or unset it to use Debian's",
            )
        return Path(chosen)
    found = list(Path("/usr/src").glob("linux-source-6.*.tar.xz"))
    if not found:
        raise KernelError("no kernel source in /usr/src", "sudo apt-get install linux-source-6.12")
    return max(found, key=_version)


def _version(tarball: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", tarball.name))


def cache() -> Path:
    """The folder under which built kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed" / "kernel"


def path() -> Path:
    """Where the kernel for this source and configuration is kept, whether or not it is built."""
    tarball = source()
    status = tarball.stat()
    recipe = repr((UNNEEDED, EDITS, CONFIGURE, COMPILE, PRELOAD, STAMP, status.st_size, status.st_mtime_ns))
    made_of = hashlib.sha256(recipe.encode())
    for ours in (CONFIG, SEEDED, LINE):
        made_of.update(ours.read_bytes())
    version = ".".join(str(number) for number in _version(tarball)) or "source"
    return cache() / f"{version}-{made_of.hexdigest()[:16]}"


def built() -> Kernel | None:
    """The kernel in the cache, if it is there."""
    place = path()
    if not (place / "release").is_file():
        return None
    release = (place / "release").read_text().strip()
    return Kernel(linux=place / "linux", seeded=place / "seeded.so", release=release, key=place.name)


def missing_tools() -> list[str]:
    """The Debian packages of the programs that a build needs and this machine lacks."""
    return [package for program, package in TOOLS.items() if shutil.which(program) is None]


def ensure(progress: Progress) -> Kernel:
    """Return the kernel, building it first where the cache has none; KernelError says why it cannot.

    Two processes never build at once: the second waits and finds what the first made.
    """
    kernel = built()
    if kernel is not None:
        return kernel
    place = path()
    if missing := missing_tools():
        raise KernelError(
            f"the guest kernel needs {', '.join(missing)} to be built",
            f"sudo apt-get install {' '.join(missing)}",
        )
    try:
        cache().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KernelError(
            f"the cache folder {cache()} cannot be made ({error.strerror})",
            "set XDG_CACHE_HOME to a folder you may write to",
        ) from error
    with terminable(), _alone(progress):
        kernel = built()
        if kernel is not None:
            return kernel
        for stale in cache().glob("building-*"):  # of a build that was killed outright
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(prefix="building-", dir=cache()) as scratch:
            _build(source(), Path(scratch), progress)
            (Path(scratch) / "kernel").rename(place)
    kernel = built()
    if kernel is None:
        raise KernelError(f"{place} has gone since it was built", "start again")
    return kernel


@contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of the guest kernel", 0, 1)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tarball: Path, scratch: Path, progress: Progress) -> None:
    """Make `scratch/kernel` from the source."""
    tree = scratch / "tree"
    tree.mkdir()
    progress("unpacking the kernel source", 0, 1)
    excludes = [f"--exclude={pattern}" for pattern in UNNEEDED]
    _step(
        "unpack",
        ["tar", "-xf", str(tarball), "-C", str(tree), "--strip-components=1", "--wildcards", *excludes],
        scratch,
        "reinstall the source: sudo apt-get install --reinstall linux-source-6.12; and see that "
        f"{cache()} has 1 GB free",
    )
    progress("unpacking the kernel source", 1, 1)

    progress("configuring the kernel", 0, 1)
    for name, before, after in EDITS:
        file = tree / name
        text = file.read_text() if file.exists() else ""
        if text.count(before) != 1:
            raise KernelError(
                f"step configure: {name} of {tarball.name} is not as expected",
                "use Debian's linux-source-6.12 (TESTBED_KERNEL_SOURCE names another)",
            )
        file.write_text(text.replace(before, after))
    shutil.copy(LINE, tree / "net" / "sched")
    (tree / "Documentation").mkdir(exist_ok=True)
    (tree / "Documentation" / "Kconfig").touch()
    shutil.copy(CONFIG, tree / "fragment")
    _step("configure", CONFIGURE, tree, INSTALL)
    if refused := not_taken(CONFIG.read_text(), (tree / ".config").read_text()):
        raise KernelError(
            f"step configure: {tarball.name} did not take {', '.join(refused)}",
            "use Debian's linux-source-6.12 (TESTBED_KERNEL_SOURCE names another)",
        )
    progress("configuring the kernel", 1, 1)

    objects = 0

    def count(line: str) -> None:
        nonlocal objects
        if line.startswith("  CC "):
            objects += 1
            progress("compiling the kernel", min(objects, OBJECTS), OBJECTS)

    cores = len(os.sched_getaffinity(0))
    _step("compile", (*COMPILE, f"-j{cores}"), tree, INSTALL, count)
    kernel = scratch / "kernel"
    kernel.mkdir()
    shutil.copy(SEEDED, kernel)
    _step("compile", PRELOAD, kernel, INSTALL)
    shutil.copy(tree / "linux", kernel)
    # Last: a folder with this file is whole.
    shutil.copy(tree / "include" / "config" / "kernel.release", kernel / "release")
    progress("compiling the kernel", OBJECTS, OBJECTS)


def not_taken(fragment: str, config: str) -> list[str]:
    """The lines of a configuration fragment that the kernel's own configuration contradicts."""
    settings = dict(line.split("=", 1) for line in config.splitlines() if "=" in line and line[0] != "#")
    wanted = [line.strip() for line in fragment.splitlines() if line.strip() and line[0] != "#"]
    return [line for line in wanted if settings.get(line.split("=", 1)[0], "n") != line.split("=", 1)[1]]


def _step(
    name: str,
    argv: Sequence[str],
    folder: Path,
    fix: str,
    each_line: Callable[[str], None] | None = None,
) -> None:
    """Run one program of the build; KernelError names the step and quotes the end of its log."""
    last: deque[str] = deque(maxlen=30)
    with group(argv, _environment(os.environ, folder), folder) as program:
        assert program.stdout is not None
        for raw in program.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            last.append(line)
            if each_line is not None:
                each_line(line)
        code = ended(program)
    if code != 0:
        raise KernelError(
            f"building the guest kernel failed in step {name} ({argv[0]} gave {code})", fix, "\n".join(last)
        )


def _environment(ours: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The build's environment: nothing of ours that make, Kbuild or gcc would take as an order."""
    kept = {name: ours[name] for name in ("PATH", "HOME") if name in ours}
    return {"PATH": os.defpath} | kept | STAMP | {"LC_ALL": "C", "TMPDIR": str(folder)}
