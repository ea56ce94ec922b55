"""Guests keep to cores: each to its own, as long as there are any."""

import subprocess
import sys
from contextlib import contextmanager, nullcontext

import pytest

from testbed.kernel import boot as booting
from testbed.kernel import cores
from testbed.kernel.boot import Machine, boot
from testbed.kernel.build import Kernel


def has(monkeypatch, *found):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(found))


def test_two_guests_never_keep_the_same_core(monkeypatch):
    has(monkeypatch, 1001, 1002)
    with cores.kept() as first:
        with cores.kept() as second, cores.kept() as third:
            assert {first, second} == {1001, 1002}
            assert third is None
        with cores.kept() as again:
            assert again == second


def test_another_process_keeps_it_until_it_ends(monkeypatch):
    has(monkeypatch, 1003, 1004)
    code = (
        "import os; from testbed.kernel import cores; os.sched_getaffinity = lambda _: {1003, 1004}\n"
        "with cores.kept() as core: print(core, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        theirs = int(other.stdout.readline())
        with cores.kept() as ours:
            assert {theirs, ours} == {1003, 1004}
        other.kill()
        other.wait()
    with cores.kept() as one, cores.kept() as two:
        assert {one, two} == {1003, 1004}


def test_an_only_core_is_nobodys(monkeypatch):
    has(monkeypatch, 1005)
    with cores.kept() as core:
        assert core is None


@pytest.mark.parametrize(
    ("clock", "core", "words"),
    [("virtual", 3, ["taskset", "-c", "3"]), ("virtual", None, []), ("wall", 3, [])],
)
def test_a_guest_on_the_virtual_clock_is_started_there(monkeypatch, tmp_path, clock, core, words):
    started = []

    @contextmanager
    def group(argv, *_, **__):
        started.append(argv)
        yield None

    monkeypatch.setattr(booting, "group", group)
    monkeypatch.setattr(booting.cores, "kept", lambda: nullcontext(core))
    kernel = Kernel(linux=tmp_path / "linux", seeded=tmp_path / "seeded.so", release="6.12", key="x")
    with boot(kernel, Machine(memory_bytes=2**20, clock=clock), ["/bin/init"], {}, tmp_path):
        pass
    assert started[0][: len(words) + 1] == [*words, "setarch"]
