"""`testbed shell` as a person meets it: through a pseudo-terminal, key by key."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.venues.guest import Guest

TOPOLOGY = """
name: pair
families: [ipv4, ipv6]
isps:
  north: {asn: 64501, routers: [a, b]}
hosts:
  h1: {at: north.a, rate: 100mbit, delay: 3ms}
  h2: {at: north.b, rate: 100mbit, delay: 4ms}
links:
  - {endpoints: [north.a, north.b], rate: 1gbit, delay: 5ms}
"""
LAN = """
name: lan
switches: {s1: {}}
hosts:
  h1: {at: s1}
  h2: {at: s1}
"""
PROMPT = "mininet> "
PATIENCE_S = 120

pytestmark = pytest.mark.guest


class Terminal:
    """A person at a terminal: what they see so far, and what they type."""

    def __init__(self, folder: Path, topology: str) -> None:
        self.ours, theirs = os.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-m", "testbed", "shell", topology],
            cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def until(self, expected: str) -> str:
        """What came before `expected` since the last time, without the terminal's colours."""
        give_up = time.monotonic() + PATIENCE_S
        while expected not in self.seen:
            ready, _, _ = select.select([self.ours], [], [], give_up - time.monotonic())
            assert ready, f"no {expected!r} in: {self.seen}"
            try:
                data = os.read(self.ours, 4096)
            except OSError:
                data = b""
            assert data, f"it ended without {expected!r}: {self.seen}"
            self.seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen + data.decode(errors="replace"))
        before, _, self.seen = self.seen.partition(expected)
        return before

    def ask(self, command: str) -> str:
        """What a command prints; the terminal's echo of it is not part of that."""
        self.type(command + "\n")
        self.until("\n")
        return self.until(PROMPT)

    def end(self) -> int:
        """The exit code, once everything the program wrote has been read."""
        try:
            while os.read(self.ours, 4096):
                pass
        except OSError:
            pass
        os.close(self.ours)
        return self.program.wait(PATIENCE_S)


@pytest.fixture
def terminal(folder):
    """A function that starts the shell on a topology; what a failed test leaves running is ended."""
    started = []

    def start(topology):
        started.append(Terminal(folder, topology))
        return started[-1]

    yield start
    for each in started:
        if each.program.poll() is None:
            each.program.terminate()
            each.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if lacks := Guest().lacks():
        pytest.skip("; ".join(lack.what for lack in lacks))
    (tmp_path / "pair.yaml").write_text(TOPOLOGY)
    (tmp_path / "lan.yaml").write_text(LAN)
    return tmp_path


def left(folder: Path) -> list[str]:
    """The processes that still have a folder of ours in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "comm").read_text())
        except OSError:
            continue
    return found


@pytest.fixture
def temporary(folder: Path, monkeypatch) -> Path:
    path = folder / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def test_a_session_at_the_prompt(folder, terminal, temporary):
    at = terminal("pair.yaml")
    at.until(PROMPT)
    assert {"h1", "h2", "north.a", "north.b"} <= set(at.ask("nodes").split())
    assert "north.a" in at.ask("net")

    pinged = at.ask("h1 ping -c 2 h2")
    rtt = float(re.search(r"= [\d.]+/([\d.]+)/", pinged)[1])
    assert "2 received" in pinged
    assert rtt >= 24  # twice 3 + 5 + 4 ms, and this machine's own
    assert "0% dropped" in at.ask("pingall")

    assert "5ms" in at.ask("tc north.a--north.b")
    struck = at.ask("fault link-impair north.a--north.b delay=55ms")
    assert "heal 1" in struck
    assert "55ms" in at.ask("tc north.a--north.b")
    slower = float(re.search(r"= [\d.]+/([\d.]+)/", at.ask("h1 ping -c 2 h2"))[1])
    assert slower >= 124
    at.ask("heal 1")
    assert "5ms" in at.ask("tc north.a--north.b")
    assert "55ms" not in at.ask("tc north.a--north.b")

    assert "there is no router north.aa; did you mean north.a?" in at.ask("fault prefix-withdraw north.aa")
    assert "heal 2" in at.ask("fault prefix-withdraw north.a")
    assert "healed 2" in at.ask("heal 2")

    at.ask("capture north.a--north.b pings.pcap")
    at.ask("h1 ping -c 3 h2")
    assert "bytes" in at.ask("capture north.a--north.b stop")

    at.ask("link north.a north.b down")
    assert "0 received" in at.ask("h1 ping -c 1 -W 1 h2")
    at.ask("link north.a north.b up")

    assert "did you mean nodes?" in at.ask("nods")
    assert "did you mean north.a--north.b?" in at.ask("tc north.a--nort.b")

    at.type("h1 ping h2\n")
    at.until("icmp_seq=")
    at.type("\x03")
    at.until("packets transmitted")
    at.until(PROMPT)
    at.type("\x04")
    assert at.end() == 0
    assert not left(temporary)
    assert not list(temporary.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["lan.yaml", "pair.yaml", "pings.pcap", "tmp"]
    said = subprocess.run(["tshark", "-r", folder / "pings.pcap"], capture_output=True, text=True, check=True)
    assert said.stdout.count("Echo (ping) request") == 3


def test_commands_given_on_the_command_line(folder):
    command = [sys.executable, "-m", "testbed", "shell", "-q", "lan.yaml"]
    done = subprocess.run(
        [*command, "-c", "h1 ping -c 1 h2", "-c", "nods"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "1 received" in done.stdout
    assert "did you mean nodes?" in done.stdout
    assert "\r" not in done.stdout
    assert done.returncode == 1
    piped = subprocess.run(command, cwd=folder, capture_output=True, text=True, input="nodes\n", check=True)
    assert "h1 h2 s1" in piped.stdout


def test_a_shell_that_is_told_to_end_leaves_nothing(terminal, temporary):
    at = terminal("lan.yaml")
    at.until(PROMPT)
    os.kill(at.program.pid, signal.SIGTERM)
    assert at.end() == 128 + signal.SIGTERM
    assert not left(temporary)
    assert not list(temporary.iterdir())
