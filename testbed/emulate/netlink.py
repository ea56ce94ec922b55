"""Netlink requests go many at a time over a plain socket, and are answered once (netlink(7)).

pyroute2's own IPRoute starts an event loop per namespace and waits for each answer; a guest, where
every system call costs ten times what it does on a host, is built several times faster by one
batch a namespace. Requests are put together here as well: pyroute2 takes a quarter of a millisecond
to encode one veth pair.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP = 0x300
_NLA_F_NESTED = 0x8000
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_MOST_BYTES = 32 * 1024  # of requests in one send
_ANSWER_BYTES = 64 * 1024  # a dump comes in pieces of 32 KiB at most


class NetlinkError(OSError):
    """The kernel refused a request; the message says which."""


class Request(NamedTuple):
    """A message: its type, flags beside those of every request, what follows its header, and its meaning."""

    number: int
    flags: int
    body: bytes
    meaning: str  # for whoever has to read that the kernel refused it


def attribute(number: int, value: bytes) -> bytes:
    """An attribute with a value, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)


def nested(number: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(number | _NLA_F_NESTED, b"".join(attributes))


class Netlink:
    """A socket to the routing subsystem of the namespace it was opened in."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def fileno(self) -> int:
        """The socket's descriptor, for what only an ioctl can do in its namespace."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, *requests: Request) -> None:
        """Have the kernel do all of it, in order; NetlinkError names the first that it refused."""
        batch: list[Request] = []
        length = 0
        for asked in requests:
            if batch and length + len(asked.body) + _HEADER.size > _MOST_BYTES:
                self._settle(batch)
                batch, length = [], 0
            batch.append(asked)
            length += len(asked.body) + _HEADER.size
        if batch:
            self._settle(batch)

    def dump(self, asked: Request) -> Iterator[tuple[int, bytes]]:
        """The messages of a dump, as (type, body without the netlink header)."""
        self._sequence += 1
        self._socket.sendto(self._message(asked, NLM_F_DUMP, self._sequence), (0, 0))
        while True:
            for kind, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise NetlinkError(-_status(body), os.strerror(-_status(body)))
                yield kind, body

    def _message(self, asked: Request, flags: int, sequence: int) -> bytes:
        length = _HEADER.size + len(asked.body)
        flags |= asked.flags | NLM_F_REQUEST
        return _HEADER.pack(length, asked.number, flags, sequence, 0) + asked.body + bytes(-length % 4)

    def _settle(self, batch: list[Request]) -> None:
        """Send requests and wait for the answer to the last: the others answer only if they are refused."""
        first = self._sequence + 1
        self._sequence += len(batch)
        messages = [self._message(asked, 0, first + place) for place, asked in enumerate(batch[:-1])]
        messages.append(self._message(batch[-1], NLM_F_ACK, self._sequence))
        self._socket.sendto(b"".join(messages), (0, 0))
        refused: NetlinkError | None = None
        answered = False
        while not answered:
            for kind, sequence, body in self._receive():
                if kind != _ERROR or not first <= sequence <= self._sequence:
                    continue
                status = -_status(body)
                if status and refused is None:
                    refused = NetlinkError(
                        status, f"{os.strerror(status)}: {batch[sequence - first].meaning}"
                    )
                answered = answered or sequence == self._sequence
        if refused is not None:
            raise refused

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_ANSWER_BYTES)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _status(body: bytes) -> int:
    return int(struct.unpack_from("=i", body)[0])
