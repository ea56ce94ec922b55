"""A connection is made to whichever address of a server answers first: Happy Eyeballs, version 2 (RFC 8305).

The first attempt begins as soon as an address is known, the next one 250 ms later or when the last has
failed, by turns of IPv6 and IPv4; addresses that the DNS tells meanwhile take their turn. The first to be
connected is used, and the others are given up.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Sequence
from itertools import zip_longest

ATTEMPT_DELAY_NS = 250_000_000  # section 8: connection attempt delay
_MS = 1_000_000  # poll() counts in milliseconds


class OutOfTimeError(Exception):
    """Nothing was connected by the time that it had to be."""


class Addresses:
    """The addresses of a server that are known, and where more of them may come from."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)

    @property
    def waiting(self) -> socket.socket | None:
        """The socket on which an answer with more of them is due; None: these are all."""
        return None

    def more(self) -> tuple[str, ...]:
        """The addresses that have come on `waiting`, which are known from now on; none if it has nothing."""
        return ()


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The addresses by turns of the families, an IPv6 one first (section 4), each in its order."""
    families = ([a for a in addresses if ":" in a], [a for a in addresses if ":" not in a])
    return [address for pair in zip_longest(*families) for address in pair if address is not None]


def connect(addresses: Addresses, port: int, until_ns: int) -> tuple[socket.socket, str]:
    """A connected socket that does not block, and the address it is connected to.

    OutOfTimeError at the Unix time `until_ns`; the OSError of the last attempt if all have failed.
    """
    race = _Race(port, interleaved(addresses.known))
    try:
        while (won := race.step(addresses)) is None:
            deadlines_ns = [until_ns, *([race.next_ns] if race.untried else [])]
            now_ns = time.time_ns()
            if now_ns >= until_ns:
                raise OutOfTimeError
            race.wait(addresses, -(-(min(deadlines_ns) - now_ns) // _MS))
        return won
    finally:
        race.give_up()


class _Race:
    """The attempts of one connection; sockets that lost are closed when it is given up."""

    def __init__(self, port: int, untried: list[str]) -> None:
        self.untried = untried
        self.next_ns = 0  # when the next attempt is due
        self._port = port
        self._running: dict[int, tuple[socket.socket, str]] = {}
        self._won: tuple[socket.socket, str] | None = None
        self._error = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def step(self, addresses: Addresses) -> tuple[socket.socket, str] | None:
        """Begin the attempts that are due; the connection, if there is one."""
        while self._won is None and self.untried and time.time_ns() >= self.next_ns:
            self._attempt(self.untried.pop(0))
        if self._won is None and not self._running and not self.untried and addresses.waiting is None:
            raise self._error
        return self._won

    def wait(self, addresses: Addresses, most_ms: int) -> None:
        """Take in what happens next, for so long at most."""
        poll = select.poll()
        for descriptor in self._running:
            poll.register(descriptor, select.POLLOUT)
        if addresses.waiting is not None:
            poll.register(addresses.waiting, select.POLLIN)
        for descriptor, _ in poll.poll(max(0, most_ms)):
            if descriptor in self._running:
                made, address = self._running.pop(descriptor)
                self._answered(made, address, made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            else:
                self.untried = interleaved([*self.untried, *addresses.more()])

    def give_up(self) -> None:
        """Close what lost."""
        for made, _ in self._running.values():
            made.close()

    def _attempt(self, address: str) -> None:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        self.next_ns = time.time_ns() + ATTEMPT_DELAY_NS
        number = made.connect_ex((address, self._port))
        if number == errno.EINPROGRESS:
            self._running[made.fileno()] = made, address
        else:
            self._answered(made, address, number)

    def _answered(self, made: socket.socket, address: str, number: int) -> None:
        """An attempt has ended: with a connection, or else the next is due."""
        if number == 0 and self._won is None:
            self._won = made, address
            return
        made.close()
        if number:
            self._error = OSError(number, os.strerror(number))
            self.next_ns = 0
