"""FRR's daemons take commands at a Unix socket each, as its shell sends them.

A command is text and a zero byte; the answer is text, three zero bytes and a byte that says how it went, 0 if
well (vtysh's side is vtysh_client_run in vtysh/vtysh.c). Written against FRR 8.4.4.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from testbed.daemons import DaemonError

TIMEOUT_S = 5.0
CHUNK = 65536
_END = b"\0\0\0"


class FrrError(DaemonError):
    """A daemon of FRR refused a command, or went away."""


def ask(path: str, command: str) -> str:
    """A daemon's answer; OSError if it does not listen, FrrError if it refuses."""
    with _connected(path) as vty:
        return _said(vty, command)


def asked(path: str, command: str) -> Any:
    """A daemon's answer as the JSON that it is; nothing is an empty object."""
    return json.loads(ask(path, f"{command} json").strip() or "{}")


def answers(path: str) -> bool:
    """Whether a daemon listens at that socket."""
    try:
        ask(path, "show version")
    except (OSError, FrrError):
        return False
    return True


def configure(path: str, commands: Iterable[str]) -> None:
    """Have a daemon take lines of configuration; what stands before the first that it refuses holds."""
    with _connected(path) as vty:
        for command in ("configure terminal", *commands):
            _said(vty, command)


@contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as vty:
        vty.settimeout(TIMEOUT_S)
        vty.connect(path)
        _said(vty, "enable")
        yield vty


def _said(vty: socket.socket, command: str) -> str:
    vty.sendall(command.encode() + b"\0")
    received = b""
    while received[-4:-1] != _END:
        chunk = vty.recv(CHUNK)
        if not chunk:
            raise FrrError(f"{command}: FRR closed its socket")
        received += chunk
    text = received[:-4].decode(errors="replace")
    if received[-1]:
        raise FrrError(f"{command}: {text.strip() or f'refused with {received[-1]}'}")
    return text
