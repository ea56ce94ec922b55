import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import testbed
from testbed.kernel import boot as module
from testbed.kernel import build
from testbed.kernel.boot import BootError, Machine, arguments, boot, memory_folder

MACHINE = Machine(memory_bytes=64 * 2**20, seed=1, epoch_ns=1_767_225_600 * 10**9)


def test_the_kernel_reads_options_then_environment_then_arguments():
    words = arguments(MACHINE, ["/bin/init", "-m", "name"], {"HOME": "/tmp"})
    assert words[0] == "mem=64M"
    assert "init=/bin/init" in words
    assert "time-travel=inf-cpu" in words
    assert "time-travel-start=1767225600000000000" in words
    assert words[-4:] == ["HOME=/tmp", "--", "-m", "name"]


def test_a_wall_clock_guest_does_not_travel():
    words = arguments(Machine(memory_bytes=2**26, clock="wall"), ["/bin/init"], {})
    assert not [word for word in words if word.startswith("time-travel")]
    assert "--" not in words


def test_spaces_are_quoted_as_the_kernel_reads_them():
    words = arguments(MACHINE, ["/bin/init", "two words", ""], {"A": "b c"})
    assert words[-4:] == ['A="b c"', "--", '"two words"', '""']


@pytest.mark.parametrize(
    ("init", "environment", "says"),
    [
        (["/bin/init", 'a"b'], {}, "quote"),
        (["/bin/init"], {"A": "b\nc"}, "line break"),
        (["/bin/init", "mem=1G"], {}, "taken by User-Mode Linux"),
        (["/bin/init", "x" * 5000], {}, "bytes long"),
        (["/bin/init", *"x" * 200], {}, "may have 124 arguments"),
    ],
)
def test_what_cannot_be_passed_is_refused(init, environment, says):
    with pytest.raises(BootError, match=says):
        arguments(MACHINE, init, environment)


def test_memory_lies_where_there_is_room(monkeypatch, tmp_path):
    full, noexec, roomy = tmp_path / "full", tmp_path / "noexec", tmp_path / "roomy"
    roomy.mkdir()

    def state(path):
        free = 10 if str(path) == "/dev/shm" else 10**6
        flags = os.ST_NOEXEC if str(path) == str(noexec) else 0
        return os.statvfs_result((4096, 4096, 0, 0, free, 0, 0, 0, flags, 255))

    monkeypatch.setattr(module.os, "statvfs", state)
    monkeypatch.setenv("TMPDIR", str(roomy))
    assert memory_folder(2**20) == roomy
    monkeypatch.setenv("TMPDIR", str(noexec))
    assert memory_folder(2**20) == Path("/tmp")
    assert memory_folder(2**50) is None
    assert not full.exists()


SCRIPT = """
mount -t proc proc /proc
cat /proc/sys/kernel/random/uuid
head -c 16 /dev/urandom | od -A n -t x1
env | grep -v -e PWD -e SHLVL
date +%s.%N
sleep 3600
date +%s.%N
echo "arguments: $*"
exec false
"""


@pytest.fixture
def kernel():
    return build.ensure(lambda *_: None)


def console(kernel, machine, init, environment, scratch):
    with boot(kernel, machine, init, environment, scratch) as guest:
        return guest.stdout.read().decode().replace("\r", "")


@pytest.mark.guest
def test_the_same_seed_boots_the_same_guest_wherever_its_files_lie(kernel, tmp_path):
    said = []
    for seed, folder in ((1, tmp_path / "a"), (1, tmp_path / "a-longer-name"), (2, tmp_path / "b")):
        folder.mkdir()
        (folder / "init").write_text(SCRIPT)
        machine = Machine(memory_bytes=64 * 2**20, seed=seed, epoch_ns=MACHINE.epoch_ns)
        said.append(
            console(kernel, machine, ["/bin/sh", str(folder / "init"), "x y", "z"], {"A": "b c"}, folder)
        )
    first, again, other = (text.partition("Kernel panic")[0].splitlines() for text in said)
    assert first == again
    assert first[:2] != other[:2]
    assert first[2:] == other[2:]
    assert "arguments: x y z" in first
    assert "A=b c" in first
    assert not [line for line in first if line.startswith(("TESTBED_", "LD_PRELOAD", "PATH=/usr/local"))]
    begin, end = (float(line) for line in first if line.startswith("17672"))
    assert 1_767_225_600 <= begin < 1_767_225_601
    assert 3600 <= end - begin < 3600.1


@pytest.mark.guest
def test_the_time_stamp_counter_is_the_virtual_clock(kernel, tmp_path):
    """Go's runtime draws from it; an hour between two reads is one, not what the processor did meanwhile."""
    program = tmp_path / "counter"
    subprocess.run(["gcc", "-O1", "-o", program, Path(__file__).with_name("counter.c")], check=True)
    words = ["/usr/bin/setarch", "--whole-seconds", str(program)]
    said = console(kernel, MACHINE, words, {}, tmp_path)
    counted = [int(line.split()[1]) for line in said.splitlines() if line.startswith("counted")]
    assert len(counted) == 18
    assert all(0 <= each - 3600 * 10**9 < 10**6 for each in counted)


@pytest.mark.guest
def test_a_wall_clock_guest_shows_the_hosts_time(kernel, tmp_path):
    (tmp_path / "init").write_text("date +%s\nsleep 0.2\nexec false\n")
    said = console(
        kernel, Machine(memory_bytes=2**26, clock="wall"), ["/bin/sh", str(tmp_path / "init")], {}, tmp_path
    )
    host = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout
    assert 0 <= int(host) - int(said.splitlines()[0]) < 600


@pytest.mark.guest
def test_the_host_is_read_only_to_the_guest(kernel, tmp_path):
    (tmp_path / "init").write_text(f"echo bad >{tmp_path}/made; rm {tmp_path}/init; exec false\n")
    said = console(kernel, MACHINE, ["/bin/sh", str(tmp_path / "init")], {}, tmp_path)
    assert said.count("Read-only file system") == 2
    assert (tmp_path / "init").exists()
    assert not (tmp_path / "made").exists()


@pytest.mark.guest
@pytest.mark.skipif(
    os.geteuid() != 0, reason="root becomes another user here; an ordinary user is one already"
)
def test_an_ordinary_user_boots_a_guest(kernel):
    # Not tmp_path: its parents are closed to others.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (kernel.linux, kernel.seeded):
            shutil.copy(part, folder)
        shutil.copytree(
            Path(testbed.__file__).parent, folder / "testbed", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "scratch").mkdir()
        (folder / "scratch").chmod(0o777)
        folder.chmod(0o755)
        (folder / "init").write_text("id -u\nexec false\n")
        script = (
            "from pathlib import Path\n"
            "from testbed.kernel.boot import Machine, boot\n"
            "from testbed.kernel.build import Kernel\n"
            f"kernel = Kernel(Path('{folder}/linux'), Path('{folder}/seeded.so'), '6', 'x')\n"
            f"init = ['/bin/sh', '{folder}/init']\n"
            "machine = Machine(memory_bytes=2**26)\n"
            f"with boot(kernel, machine, init, {{}}, Path('{folder}/scratch')) as guest:\n"
            "    print(guest.stdout.read().decode())\n"
        )
        python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        done = subprocess.run(
            [*user, python, "-B", "-c", script],
            cwd=folder,
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines()[:1] == ["0"], done.stderr
