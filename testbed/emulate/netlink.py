"""Netlink requests are encoded by pyroute2 and sent many at a time over a plain socket.

pyroute2's own IPRoute starts an event loop per namespace and waits for each answer; a guest, where
every system call costs ten times what it does on a host, is built several times faster by one
batch a namespace.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from pyroute2.netlink import nlmsg

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP = 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_MOST_BYTES = 32 * 1024  # of requests in one send; the acks must fit the receive buffer


class NetlinkError(OSError):
    """The kernel refused a request; the message says which."""


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

    def ask(self, *requests: nlmsg) -> None:
        """Have the kernel do all of it, in order; NetlinkError names the first that it refused."""
        waiting: dict[int, nlmsg] = {}
        batch = b""
        for request in requests:
            data = self._encode(request, NLM_F_ACK)
            if batch and len(batch) + len(data) > _MOST_BYTES:
                self._settle(batch, waiting)
                batch, waiting = b"", {}
            waiting[self._sequence] = request
            batch += data
        if batch:
            self._settle(batch, waiting)

    def dump(self, request: nlmsg) -> Iterator[tuple[int, bytes]]:
        """The messages of a dump, as (type, body without the netlink header)."""
        self._socket.sendto(self._encode(request, NLM_F_DUMP), (0, 0))
        while True:
            for kind, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise NetlinkError(-_status(body), os.strerror(-_status(body)))
                yield kind, body

    def _encode(self, request: nlmsg, flags: int) -> bytes:
        self._sequence += 1
        request["header"]["sequence_number"] = self._sequence
        request["header"]["flags"] |= NLM_F_REQUEST | flags
        request.encode()
        return bytes(request.data)

    def _settle(self, batch: bytes, waiting: dict[int, nlmsg]) -> None:
        self._socket.sendto(batch, (0, 0))
        first: NetlinkError | None = None
        while waiting:
            for kind, sequence, body in self._receive():
                if kind != _ERROR or sequence not in waiting:
                    continue
                request = waiting.pop(sequence)
                status = _status(body)
                if status and first is None:
                    first = NetlinkError(-status, f"{os.strerror(-status)}: {_describe(request)}")
        if first is not None:
            raise first

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _status(body: bytes) -> int:
    return int(struct.unpack_from("=i", body)[0])


def _describe(request: nlmsg) -> str:
    return f"{type(request).__name__} {request['attrs']!r}"[:400]
