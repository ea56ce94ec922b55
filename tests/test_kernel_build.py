import fcntl
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from testbed.kernel import build
from testbed.kernel.build import KernelError, ensure
from testbed.kernel.edits import EDITS

HZ = "config HZ\n\tint\n\tdefault 100\n"

# A source tree that behaves like a kernel's as far as the build can see, in no time.
MAKEFILE = """
allnoconfig:
\tgrep = fragment > .config
linux:
\t@test -s net/sched/sch_line.c && grep -q sch_line.o net/sched/Makefile
\t@echo '  CC      init/main.o'
\t@echo '  CC      init/version.o'
\t@echo program > linux
\t@mkdir -p include/config
\t@echo 6.12.99 > include/config/kernel.release
"""


def nothing(stage, done, of):
    pass


@pytest.fixture
def make_source(tmp_path, monkeypatch):
    """A function that makes a source tarball and has the build use it and an empty cache."""

    def make(makefile=MAKEFILE, kconfig=HZ):
        tree = tmp_path / "linux-source-6.12"
        files = {"drivers/gpu/drm.c": ""}
        for name, before, _ in EDITS:
            files[name] = files.get(name, "") + before
        for name, text in {**files, "Makefile": makefile, "arch/um/Kconfig": kconfig}.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        tarball = tmp_path / "linux-source-6.12.tar.xz"
        with tarfile.open(tarball, "w:xz") as archive:
            archive.add(tree, tree.name)
        monkeypatch.setenv("TESTBED_KERNEL_SOURCE", str(tarball))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tarball

    return make


def left(cache):
    return sorted(entry.name for entry in cache.iterdir() if entry.name != "lock")


def test_builds_once_and_keeps_it(make_source):
    make_source()
    seen = []
    kernel = ensure(lambda *step: seen.append(step))
    assert kernel.release == "6.12.99"
    assert kernel.linux.read_text() == "program\n"
    assert kernel.seeded.stat().st_size > 0
    assert left(build.cache()) == [kernel.key]
    assert kernel.key.startswith("6.12-")
    assert [done for stage, done, _ in seen if stage == "compiling the kernel"] == [1, 2, build.OBJECTS]
    seen.clear()
    assert ensure(lambda *step: seen.append(step)) == kernel
    assert seen == []


@pytest.mark.parametrize("part", ["CONFIG", "SEEDED", "LINE"])
def test_another_part_is_another_kernel(make_source, tmp_path, monkeypatch, part):
    make_source()
    before = build.path()
    other = tmp_path / "other"
    other.write_text(getattr(build, part).read_text() + "\n")
    monkeypatch.setattr(build, part, other)
    assert build.path() != before
    assert build.path().parent == before.parent


@pytest.mark.parametrize(
    ("makefile", "kconfig", "says"),
    [
        ("allnoconfig:\n\t@echo flex: not found; exit 1\n", HZ, "step configure"),
        ("allnoconfig:\n\t@grep -v NETEM fragment > .config\n", HZ, "did not take CONFIG_NET_SCH_NETEM=y"),
        (MAKEFILE, "config HZ\n\tint\n\tdefault 250\n", "arch/um/Kconfig"),
        (MAKEFILE.replace("\t@echo program", "\t@echo oops; exit 1; echo"), HZ, "step compile"),
    ],
)
def test_a_failed_step_is_named_and_leaves_nothing(make_source, makefile, kconfig, says):
    make_source(makefile, kconfig)
    with pytest.raises(KernelError, match=says) as caught:
        ensure(nothing)
    assert "apt-get install" in caught.value.fix or "TESTBED_KERNEL_SOURCE" in caught.value.fix
    assert left(build.cache()) == []


def test_the_end_of_the_log_is_evidence(make_source):
    make_source(MAKEFILE.replace("\t@echo program", "\t@echo fatal error: no elf.h; exit 1; echo"))
    with pytest.raises(KernelError) as caught:
        ensure(nothing)
    assert "fatal error: no elf.h" in caught.value.evidence


def test_a_broken_tarball_fails_to_unpack(make_source):
    tarball = make_source()
    tarball.write_bytes(tarball.read_bytes()[:200])
    with pytest.raises(KernelError, match="step unpack"):
        ensure(nothing)
    assert left(build.cache()) == []


def test_no_source_is_said_with_the_fix(monkeypatch, tmp_path):
    monkeypatch.setenv("TESTBED_KERNEL_SOURCE", str(tmp_path / "none.tar.xz"))
    with pytest.raises(KernelError, match="no file"):
        build.source()


def test_a_missing_tool_is_named(make_source, monkeypatch):
    make_source()
    monkeypatch.setattr(build, "TOOLS", build.TOOLS | {"no-such-program": "its-package"})
    with pytest.raises(KernelError, match="sudo apt-get install its-package"):
        ensure(nothing)


def test_what_a_killed_build_left_is_cleared(make_source):
    make_source()
    stale = build.cache() / "building-x" / "tree"
    stale.mkdir(parents=True)
    kernel = ensure(nothing)
    assert left(build.cache()) == [kernel.key]


def test_a_second_process_waits_and_takes_what_the_first_built(make_source):
    make_source()
    build.cache().mkdir(parents=True)
    with (build.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def first_finishes(stage, done, of):
            assert stage.startswith("waiting")
            place = build.path()
            place.mkdir()
            (place / "release").write_text("6.12.1\n")
            fcntl.flock(lock, fcntl.LOCK_UN)

        assert ensure(first_finishes).release == "6.12.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(make_source, tmp_path, number):
    make_source(MAKEFILE.replace("\t@echo program", "\t@sleep 1000; echo"))
    script = (
        "from testbed.kernel.build import ensure\n"
        "ensure(lambda stage, done, of: done == 2 and print('compiling', flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout.readline() == b"compiling\n"
        child.send_signal(number)
        assert child.wait(30) != 0
    assert left(build.cache()) == []
    assert not running_in(tmp_path)


def running_in(folder):
    """Whether a process has its working directory under a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            where = link.readlink()
        except OSError:
            continue
        if where.is_relative_to(folder):
            found.append(where)
    return found


def test_not_taken_names_lines():
    fragment = "# why\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_C=y\n\nCONFIG_D=n\n"
    assert build.not_taken(fragment, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=y\n") == [
        "CONFIG_C=y",
        "CONFIG_D=n",
    ]


def test_the_newest_source_wins(monkeypatch, tmp_path):
    assert max(
        [tmp_path / "linux-source-6.9.tar.xz", tmp_path / "linux-source-6.12.tar.xz"], key=build._version
    ).name.startswith("linux-source-6.12")


def test_orders_to_other_makes_do_not_reach_the_build(monkeypatch, tmp_path):
    environment = build._environment(
        {"PATH": "/bin", "MAKEFLAGS": "-n", "ARCH": "arm", "LD_PRELOAD": "x"}, tmp_path
    )
    assert environment["PATH"] == "/bin"
    assert not {"MAKEFLAGS", "ARCH", "LD_PRELOAD"} & environment.keys()
