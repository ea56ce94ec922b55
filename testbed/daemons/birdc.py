"""BIRD's control socket answers with the routes it learned by BGP.

The protocol is a line for a command, and lines for the answer: a four-digit code and "-" or a space,
or a single space for "the same code again"; the last has code 0000, 8xxx or 9xxx followed by a space
(BIRD's doc/reply_codes). Written against BIRD 2.0.12.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any

from testbed.daemons import DaemonError

TIMEOUT_S = 5.0
CHUNK = 65536

_NETWORK = re.compile(r"(\S+/\d+)\s+\S+ \[")
_LAST = re.compile(rb"^\d{4} .*\n\Z", re.MULTILINE)


class BirdError(DaemonError):
    """BIRD refused a command, or went away."""


@dataclass
class LearnedRoute:
    """A prefix and the attributes steering looks at; an AS set counts as one AS, its lowest."""

    prefix: str
    as_path: list[int]
    med: int | None = None

    def document(self) -> dict[str, Any]:
        """The route as a report carries it."""
        return {"prefix": self.prefix, "as_path": self.as_path, "med": self.med}


def learned_routes(path: str) -> list[LearnedRoute]:
    """The best route to each prefix, of those learned by BGP; OSError or BirdError if BIRD is down."""
    return parse_routes(ask(path, "show route primary all"))


def ask(path: str, command: str) -> list[str]:
    """BIRD's answer, a line each without its code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(TIMEOUT_S)
        control.connect(path)
        _receive(control, re.compile(rb"^0001 .*\n\Z"))
        control.sendall(command.encode() + b"\n")
        answer = _receive(control, _LAST)
    lines = answer.decode(errors="replace").splitlines()
    last = lines[-1]
    if last[0] in "89":
        raise BirdError(f"{command}: {last[5:]}")
    return [line[1:] if line.startswith(" ") else line[5:] for line in lines]


def parse_routes(lines: list[str]) -> list[LearnedRoute]:
    """The BGP routes in the answer to `show route primary all`."""
    routes: list[LearnedRoute] = []
    prefix = ""
    for line in lines:
        network = _NETWORK.match(line)
        if network is not None:
            prefix = network[1]
            continue
        name, _, value = line.strip().partition(": ")
        if name in ("BGP.as_path", "BGP.as_path:"):
            routes.append(LearnedRoute(prefix, _as_path(value)))
        elif name == "BGP.med" and routes and routes[-1].prefix == prefix:
            routes[-1].med = int(value)
    return routes


def _as_path(text: str) -> list[int]:
    flat = re.sub(r"\{([^}]*)\}", lambda found: str(min(map(int, found[1].split()), default="")), text)
    return [int(number) for number in re.findall(r"\d+", flat)]


def _receive(control: socket.socket, until: re.Pattern[bytes]) -> bytes:
    """What BIRD sends up to a line that ends an answer."""
    received = b""
    while not until.search(received, max(0, received.rfind(b"\n", 0, -1) + 1)):
        chunk = control.recv(CHUNK)
        if not chunk:
            raise BirdError("BIRD closed its control socket")
        received += chunk
    return received


def answers(path: str) -> bool:
    """Whether BIRD listens at that socket."""
    try:
        ask(path, "show status")
    except (OSError, BirdError):
        return False
    return True


def established(path: str) -> bool:
    """Whether BIRD answers, every BGP session is established and every OSPF link has found its neighbour.

    And every RPKI cache has told what it knows.

    Without the latter an AS that speaks OSPF alone would look settled before the first hello is due.
    """
    try:
        protocols = [line.split() for line in ask(path, "show protocols")]
        linked = all(
            not unlinked(ask(path, f"show ospf interface {name}"), ask(path, f"show ospf neighbors {name}"))
            for name, kind, *_ in filter(None, protocols)
            if kind == "OSPF"
        )
    except (OSError, BirdError):
        return False
    return linked and all(come_up(fields) for fields in protocols if fields[1:2] in (["BGP"], ["RPKI"]))


def come_up(fields: list[str]) -> bool:
    """Whether a session, by its line of `show protocols`, has come as far as it will.

    Not after there were too many prefixes: the end that closed it says so, and the other has been told.
    """
    said = " ".join(fields)
    return any(each in said for each in ("Established", "limit exceeded", "Maximum number of prefixes"))


def unlinked(interfaces: list[str], neighbors: list[str]) -> list[str]:
    """The OSPF interfaces that are up, wait for a neighbour and have none whose database is in step.

    A point-to-point link has one neighbour. A broadcast network may have none: it has settled when the
    time to look for a designated router is over (RFC 2328, section 9.1).
    """
    full = {
        fields[4] for line in neighbors if (fields := line.split())[2:3] and fields[2].startswith("Full/")
    }
    waiting, name = [], ""
    for line in interfaces:
        field, _, value = line.strip().partition(" ")
        if field == "Interface":
            name = value.split()[0]
        elif field == "State:" and ((value == "PtP" and name not in full) or value == "Waiting"):
            waiting.append(name)
    return waiting
