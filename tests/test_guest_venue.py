import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed import pipeline
from testbed.job import Job, Node, Process
from testbed.measure.tables import Tables
from testbed.venues import VenueError
from testbed.venues import guest as module
from testbed.venues.guest import Guest, Watch, environment

MESSAGE = """echo '@{"stage": "virtual time", "done": 12.0, "of": 180.0}'\n"""


def nothing(stage, done, of):
    pass


def a_job(**changes):
    return Job(
        **{
            "scenario": "s", "topology": "t", "seed": 1, "clock": "virtual", "duration_ns": 10**9,
            "epoch_ns": 1_767_225_600 * 10**9, "nodes": (), "links": (), "zone": "cdn.example",
        }
        | changes
    )  # fmt: skip


class TestWatch:
    def test_messages_become_progress_whatever_pieces_they_come_in(self):
        seen = []
        watch = Watch(lambda *step: seen.append(step))
        assert not watch.feed(b'hello\r\n@{"stage": "virtual ')
        assert watch.feed(b'time", "done": 3.5, "of": 180}\r\n')
        assert seen == [("virtual time", 3.5, 180.0)]
        assert watch.where == "virtual time 3.5 s"
        assert watch.evidence == "hello"

    def test_a_line_that_only_looks_like_a_message_is_for_people(self):
        watch = Watch(nothing)
        assert not watch.feed(b"@home\n@[1]\n")
        assert watch.evidence == "@home\n@[1]"

    @pytest.mark.parametrize(
        ("said", "code", "cause"),
        [
            ('@{"failed": "north.core has no BGP session"}\n', 0, "north.core has no BGP session"),
            (
                "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n",
                -6,
                r"died at boot \(exit 3\)",
            ),
            ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n", -6, "SIGSEGV"),
            ("[ 1.0] Kernel panic - not syncing: Fatal exception\n", -6, "panicked at boot: Kernel panic"),
            (
                "Out of memory: Killed process 9 (nginx)\nKernel panic - x\n",
                None,
                r"ran out of memory .*\(it has 64 MiB",
            ),
            ("", -9, r"was killed at boot \(SIGKILL\)"),
            ("", None, "hung at boot"),
            ("", 0, "stopped at boot before the run was finished"),
        ],
    )
    def test_the_cause_is_named(self, said, code, cause):
        watch = Watch(nothing)
        watch.feed(said.encode())
        with pytest.raises(AssertionError, match=cause):
            raise AssertionError(watch.cause(code, 64 * 2**20))

    def test_evidence_is_the_end_of_the_console(self):
        watch = Watch(nothing)
        watch.feed(b"".join(b"line %d\n" % number for number in range(100)) + b"cut sho")
        lines = watch.evidence.splitlines()
        assert lines[0] == "line 60"
        assert lines[-1] == "cut sho"


def test_the_guests_environment_is_none_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert "SECRET" not in environment()
    assert not any(str(Path.cwd()) in value for value in environment().values())
    assert environment()["PYTHONHASHSEED"] == "0"


def test_another_processor_is_said(monkeypatch):
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    (lack,) = Guest().lacks()
    assert "aarch64" in lack.what


def test_missing_programs_are_named_with_their_package(monkeypatch):
    monkeypatch.setattr(module, "PROGRAMS", {"no-such-program": "its-package"})
    monkeypatch.setattr(Guest, "_kernel_lacks", lambda self: [])
    lacks = Guest().lacks()
    assert [lack.fix for lack in lacks if "no-such-program" in lack.what] == [
        "sudo apt-get install its-package"
    ]


def test_too_little_room_is_said(monkeypatch):
    assert any("TMPDIR" in lack.fix for lack in Guest(memory_bytes=2**60).lacks())


def test_a_job_whose_program_is_missing_does_not_start(tmp_path):
    node = Node(name="r", role="router", processes=(Process(name="p", argv=("no-such-program", "-f")),))
    with pytest.raises(VenueError, match="no-such-program"):
        Guest().run(a_job(nodes=(node,)), tmp_path, nothing)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs a shell script as the guest's first program; what it leaves is checked."""
    home = tmp_path / "home"
    temporary = tmp_path / "temporary"
    into = tmp_path / "run"
    for folder in (home, temporary, into):
        folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(module.build.cache().parent.parent))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    mounts = Path("/proc/self/mounts").read_text()
    groups = set()

    def start(script, progress=nothing, **options):
        init = tmp_path / "init"
        init.write_text(script)

        def noting(stage, done, of):
            groups.update(children(os.getpid()))
            progress(stage, done, of)

        options = {"memory_bytes": 64 * 2**20, "init": ("/bin/sh", str(init))} | options
        Guest(**options).run(a_job(), into, noting)

    start.into = into
    yield start
    until(lambda: not any(alive(group) for group in groups))
    assert {entry.name for entry in into.iterdir()} <= {"console.log", "guest.json"}
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert Path("/proc/self/mounts").read_text() == mounts


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(group):
    """Processes of a group that are not merely waiting to be reaped."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(status.parent.name))
    return found


def until(condition):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.guest
def test_a_guest_that_finishes_is_a_success(run):
    seen = []
    finish = (
        f"mount -t hostfs none -o {run.into} /mnt\n"
        + MESSAGE
        + """echo '{"finished": true}' >/mnt/guest.json\n"""
        + f"exec {sys.executable} -c 'import os, ctypes; os.sync(); ctypes.CDLL(None).reboot(0x4321fedc)'\n"
    )
    run(finish, lambda *step: seen.append(step))
    assert seen == [("virtual time", 12.0, 180.0)]
    assert json.loads((run.into / "guest.json").read_text()) == {"finished": True}
    assert "@{" in (run.into / "console.log").read_text()


@pytest.mark.guest
def test_a_first_program_that_dies_is_said_with_the_end_of_the_console(run):
    with pytest.raises(VenueError, match=r"first program died at virtual time 12.0 s \(exit 3\)") as caught:
        run(MESSAGE + "echo Traceback, for example\nexit 3\n")
    assert "Traceback, for example" in caught.value.evidence
    assert "Traceback, for example" in (run.into / "console.log").read_text()


@pytest.mark.guest
def test_a_panic_is_said(run):
    with pytest.raises(VenueError, match=r"panicked at boot: Kernel panic - not syncing: .*no-such-init"):
        run("", init=("/no-such-init",))


@pytest.mark.guest
def test_what_the_guest_says_failed_is_the_reason(run):
    with pytest.raises(VenueError, match=r"^oca-n1 did not come up$"):
        run("""echo '@{"failed": "oca-n1 did not come up"}'\nexit 1\n""")


@pytest.mark.guest
def test_a_guest_that_spins_is_stopped(run):
    with pytest.raises(VenueError, match=r"hung at virtual time 12.0 s"):
        run(MESSAGE + "while :; do :; done\n", hang_s=1.0)


@pytest.mark.guest
def test_talk_that_is_no_message_does_not_keep_a_hung_guest(run):
    with pytest.raises(VenueError, match=r"hung at boot"):
        run("while :; do echo still here; done\n", hang_s=1.0)


@pytest.mark.guest
def test_a_guest_out_of_memory_is_said(run):
    with pytest.raises(VenueError, match=r"ran out of memory at virtual time 12.0 s \(it has 64 MiB\)"):
        run(MESSAGE + "head -c 1000000000 /dev/zero | tail\nwhile :; do sleep 1; done\n")


@pytest.mark.guest
def test_a_guest_killed_from_outside_is_said(run):
    def kill(stage, done, of):
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)

    with pytest.raises(VenueError, match=r"was killed at virtual time 12.0 s \(SIGKILL\)"):
        run(MESSAGE + "while :; do :; done\n", kill)


@pytest.mark.guest
def test_a_busy_guest_is_killed_whole(run):
    groups = []

    def kill(stage, done, of):
        groups.extend(children(os.getpid()))
        (guest,) = groups
        until(lambda: len(alive(guest)) > 3)  # the kernel and a process each for the guest's programs
        os.kill(guest, signal.SIGKILL)

    with pytest.raises(VenueError, match="was killed"):
        run("sleep 1000 & sleep 1000 & sleep 1000 &\n" + MESSAGE + "while :; do :; done\n", kill)
    until(lambda: not alive(groups[0]))


@pytest.mark.guest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_orchestrator(run, tmp_path, number):
    (tmp_path / "init").write_text("sleep 1000 &\n" + MESSAGE + "while :; do :; done\n")
    script = (
        "from pathlib import Path\n"
        "from testbed.job import Job\n"
        "from testbed.venues.guest import Guest\n"
        f"job = Job.loads({a_job().dumps()!r})\n"
        f"guest = Guest(memory_bytes=2**26, init=('/bin/sh', '{tmp_path}/init'))\n"
        f"guest.run(job, Path('{run.into}'), lambda *_: print('begun', flush=True))\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as orchestrator:
        assert orchestrator.stdout.readline() == b"begun\n"
        (guest,) = children(orchestrator.pid)
        assert alive(guest)
        orchestrator.send_signal(number)
        assert orchestrator.wait(60) != 0
    until(lambda: not alive(guest))
    if number == signal.SIGKILL:  # nobody is left to clear the run folder, but it is all in there
        (scratch,) = run.into.glob("guest-*")
        for entry in sorted(scratch.rglob("*"), reverse=True):
            entry.rmdir() if entry.is_dir() else entry.unlink()
        scratch.rmdir()


OCA_CRASH = Path(__file__).parents[1] / "scenarios" / "oca-crash.yaml"


@pytest.mark.guest
def test_a_scenario_that_needs_more_memory_than_there_is_says_so(tmp_path):
    result = pipeline.run(pipeline.plan(OCA_CRASH), Guest(memory_bytes=96 * 2**20), tmp_path, nothing)
    assert result.exit == 3
    assert re.match(r"the guest ran out of memory at .* \(it has 96 MiB\): ", result.reason)
    assert not list(result.run.glob("guest-*"))


@pytest.mark.guest
def test_a_scenario_runs_on_the_wall_clock_too(tmp_path):
    sets = (
        "duration=11s", "faults.0.at=3s", "faults.0.lasts=2s", "titles.film.length=8s",
        "workload.0.arrivals.every=200ms", "workload.1.arrivals.every=200ms",
    )  # fmt: skip
    job = pipeline.plan(OCA_CRASH, sets=sets, clock="wall")
    result = pipeline.run(job, Guest(), tmp_path, nothing)
    assert result.reason == ""
    assert result.real_s > result.virtual_s >= 11
    judged = pipeline.judgement(result.run)
    assert [(fault.took_hold, fault.healed) for fault in judged.faults] == [(True, True)]
    # a busy machine may cut the last of them short; that is what the virtual clock is for
    outcomes = {outcome for (outcome,) in Tables(result.run).sql("select distinct outcome from sessions")}
    assert outcomes <= {"completed", "cut"}
