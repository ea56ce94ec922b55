"""The shell is Mininet's prompt on a network of the testbed, with its faults, captures and links added.

Node and link names have dots and dashes here; the prompt takes them as they are.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import typing
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mininet.cli import CLI
from mininet.log import output, setLogLevel

from testbed import impairments, namespaces, registry
from testbed.emulate.guest import tell
from testbed.emulate.mininet import Mininet
from testbed.emulate.network import Network
from testbed.emulate.play import bring_up
from testbed.faults import ExpiredOcaName, LinkName, NeighborName, NodeName, OcaName, RouterName
from testbed.job import HERE, OUT, Job, Link
from testbed.refusal import suggestion

_CONSOLE = "/dev/tty0"
_SCRIPT = "/tmp/commands"  # noqa: S108 - the guest's own


def run(job: Job) -> None:
    """Bring the network up and hand the console to whoever is there, until they leave."""
    commands = json.loads(Path(OUT, "shell.json").read_text())
    network, _, _ = bring_up(job, Path(OUT))
    setLogLevel("output")
    _take_terminal(plain=bool(commands))
    os.chdir(HERE)
    net = Mininet.of(network)
    tell(stage="ready")
    if not commands:
        output(f"{job.topology}: {len(job.nodes)} nodes, {len(job.links)} links. Try: help, nodes, net, tc\n")
    shell = Shell(net, network, commands)
    shell.leave()
    net.stop()
    network.processes.stop_all()
    sys.stdout.flush()
    Path(OUT, "shell.ended").write_text(str(int(bool(commands) and shell.misunderstood)))


def _take_terminal(*, plain: bool) -> None:
    """Make the console the terminal that Ctrl-C comes from; `plain`: lines end without a carriage return."""
    os.setsid()
    terminal = os.open(_CONSOLE, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(terminal, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if plain:
        mode = termios.tcgetattr(0)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(0, termios.TCSANOW, mode)


class Shell(CLI):  # type: ignore[misc]
    """Mininet's command line on a network of the testbed; making one is talking to it until it is left."""

    identchars = CLI.identchars + ".-"

    def __init__(self, net: Mininet, network: Network, commands: list[str]) -> None:
        self.network = network
        self.job = network.job
        self.misunderstood = False
        self._struck: dict[int, tuple[str, ExitStack]] = {}
        self._captures: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
        self._count = 0
        if commands:
            Path(_SCRIPT).write_text("".join(f"{command}\n" for command in commands))
        super().__init__(net, script=_SCRIPT if commands else None)

    def leave(self) -> None:
        """Undo the faults that are still in force, and end the captures."""
        for number in list(self._struck):
            self._heal(number)
        for link in list(self._captures):
            self._end_capture(link)

    def onecmd(self, line: str) -> Any:
        """One command; what is wrong with it is said, and the shell goes on."""
        try:
            return super().onecmd(line)
        except (KeyError, ValueError, TypeError, OSError) as problem:
            what = problem.args[0] if isinstance(problem, KeyError) and problem.args else problem
            self._refuse(str(what))
            return None

    def default(self, line: str) -> None:
        """A command on a node, or one that nobody knows."""
        first = self.parseline(line)[0]
        if first in self.mn:
            super().default(line)
        else:
            known = [*self.mn, *(name[3:] for name in self.get_names() if name.startswith("do_"))]
            self._refuse(f"unknown command: {line.strip()}; {suggestion(first or line, known, 'type help')}")

    def do_fault(self, line: str) -> None:
        """Strike with a fault until `heal`; alone it lists those in force and the kinds there are.

        fault KIND [TARGET] [name=value ...]
        fault link-down north.core--ix
        fault link-impair north.core--ix delay=80ms loss=2%
        """
        words = shlex.split(line)
        if not words:
            for number, (said, _) in self._struck.items():
                output(f"{number}: {said}\n")
            output("".join(f"fault {_usage(kind)}\n" for kind in registry.kinds("faults").values()))
            return
        kinds = registry.kinds("faults")
        if words[0] not in kinds:
            what = f"there is no fault {words[0]}"
            raise ValueError(f"{what}; {suggestion(words[0], kinds, 'write one of ' + ', '.join(kinds))}")
        names = _parameters(kinds[words[0]])
        values: dict[str, Any] = {"at": 0, "lasts": 0}
        for place, word in enumerate(words[1:]):
            name, equals, value = word.partition("=")
            if not equals:
                if place >= len(names):
                    raise ValueError(f"{word} is too much; write fault {_usage(kinds[words[0]])}")
                name, value = names[place], word
            values[name.replace("-", "_")] = value
        unknown = [name for name in values if name not in (*names, "at", "lasts")]
        if unknown:
            raise ValueError(f"{words[0]} has no {unknown[0]}; write fault {_usage(kinds[words[0]])}")
        self._names_exist(kinds[words[0]], values)
        stack = ExitStack()
        stack.enter_context(registry.build("faults", words[0], values).strike(self.network))
        self._count += 1
        self._struck[self._count] = (" ".join(words), stack)
        output(f"{self._count}: {' '.join(words)}; undo it with: heal {self._count}\n")

    def do_heal(self, line: str) -> None:
        """Undo a fault, or all of them.

        heal [NUMBER]
        """
        numbers = [int(word) for word in line.split()] or list(self._struck)
        for number in numbers:
            if number not in self._struck:
                raise ValueError(f"no fault {number} is in force; fault lists those that are")
            self._heal(number)

    def do_capture(self, line: str) -> None:
        """Show a link's packets until Ctrl-C, or save them in a file until `stop`; alone it lists captures.

        capture LINK [FILE.pcap | stop]
        capture north.core--ix ix.pcap
        """
        words = shlex.split(line)
        if not words:
            for name, (_, path) in self._captures.items():
                output(f"{name} into {path}\n")
            return
        link = self._link(words[0])
        if len(words) == 1:
            shown = self._tcpdump(link, "-l")
            try:
                shown.wait()
            except KeyboardInterrupt:
                shown.wait()
        elif words[1] == "stop":
            self._end_capture(link.name)
        else:
            if link.name in self._captures:
                raise ValueError(f"{link.name} is being captured; end that with: capture {link.name} stop")
            Path(words[1]).write_bytes(b"")  # refused here rather than by tcpdump
            self._captures[link.name] = self._tcpdump(link, "-U", "-w", words[1]), words[1]
            output(f"{link.name} goes into {words[1]}; end it with: capture {link.name} stop\n")

    def do_tc(self, line: str) -> None:
        """Say what each direction of a link, or of all, does to packets now, and what it has done so far.

        tc [LINK]
        """
        links = [self._link(line.strip())] if line.strip() else self.job.links
        counted = {(link, node): counters for link, node, _, counters in self.network.counters()}
        for link in links:
            output(f"{link.name}\n")
            for here, there, way in ((link.a, link.b, "forward"), (link.b, link.a, "backward")):
                count = counted[link.name, here]
                output(
                    f"  {here} to {there}: {impairments.shown(self.network.shape(link.name, way))}\n"
                    f"    sent {count['packets']:,} packets, {count['bytes']:,} bytes; "
                    f"dropped {count['drops']:,}; {count['queue_bytes']:,} bytes wait\n"
                )

    def complete_tc(self, text: str, *_: object) -> list[str]:
        """Names of links."""
        return _beginning(text, (link.name for link in self.job.links))

    complete_capture = complete_tc

    def complete_fault(self, text: str, line: str, begins: int, _ends: int) -> list[str]:
        """Kinds of faults, then names of links and nodes."""
        if len(line[:begins].split()) <= 1:
            return _beginning(text, registry.kinds("faults"))
        return _beginning(text, (*(link.name for link in self.job.links), *self.mn))

    def completenames(self, text: str, *ignored: object) -> list[str]:
        """Commands, and nodes to run one on."""
        return [*super().completenames(text, *ignored), *_beginning(text, self.mn)]

    def _names_exist(self, kind: type, values: dict[str, Any]) -> None:
        """ValueError says which parameter of a fault names nothing here, and what to write instead."""
        job = self.job
        routing = job.routing.get(str(values.get("router")))
        ocas = [node.name for node in job.nodes if node.role == "oca"]
        known: dict[Any, Iterable[str]] = {
            RouterName: job.routing,
            NeighborName: {session.neighbor: None for session in routing.sessions} if routing else (),
            OcaName: ocas, ExpiredOcaName: ocas, NodeName: [node.name for node in job.nodes],
        }  # fmt: skip
        for parameter, hint in typing.get_type_hints(kind).items():
            name = values.get(parameter)
            if name is not None and hint is LinkName:
                self._link(name)
            elif name is not None and hint in known and name not in known[hint]:
                raise ValueError(
                    f"there is no {parameter} {name}; {suggestion(name, known[hint], 'nodes lists all')}"
                )

    def _link(self, name: str) -> Link:
        try:
            return self.job.link(name)
        except KeyError:
            known = [link.name for link in self.job.links]
            raise ValueError(
                f"there is no link {name}; {suggestion(name, known, 'net lists them')}"
            ) from None

    def _tcpdump(self, link: Link, *how: str) -> subprocess.Popen[bytes]:
        if shutil.which("tcpdump") is None:
            raise ValueError("there is no tcpdump on this machine; leave, and: sudo apt-get install tcpdump")
        # immediate: else what came in the last second is not in the file when it ends
        command = ["tcpdump", "-Z", "root", "--immediate-mode", "-n", "-i", link.a_interface, *how]
        with namespaces.inside(self.network.namespace(link.a)):
            started = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert started.stderr is not None
        said = ""
        while "listening on" not in said:  # from here on it misses nothing
            line = started.stderr.readline().decode(errors="replace")
            if not line:
                raise ValueError(f"tcpdump ended: {said.strip()}")
            said += line
        return started

    def _end_capture(self, link: str) -> None:
        if link not in self._captures:
            raise ValueError(f"{link} is not being captured")
        capture, path = self._captures.pop(link)
        capture.terminate()
        capture.wait()
        output(f"{path}: {Path(path).stat().st_size:,} bytes\n")

    def _heal(self, number: int) -> None:
        said, stack = self._struck.pop(number)
        stack.close()
        output(f"healed {number}: {said}\n")

    def _refuse(self, what: str) -> None:
        self.misunderstood = True
        output(f"*** {what}\n")


def _parameters(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name not in ("at", "lasts")]


def _usage(kind: Any) -> str:
    needed = {each.name for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING}
    shown = (name.upper() if name in needed else f"[{name}=...]" for name in _parameters(kind))
    return " ".join((kind.kind, *shown))


def _beginning(text: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(text)]
