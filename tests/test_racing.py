"""Happy Eyeballs, against sockets of this machine: what listens, what refuses, what keeps silent."""

from __future__ import annotations

import errno
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.services import racing
from testbed.services.racing import ATTEMPT_DELAY_NS, Addresses, OutOfTimeError, connect, interleaved

S = 10**9


@contextmanager
def listening(address, port=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as server:
        yield server.getsockname()[1]


@contextmanager
def silent(port, *addresses):
    """Whoever connects there gets no answer: the queue of connections is full."""
    with ExitStack() as stack:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            mute, only = (stack.enter_context(socket.socket(family)) for _ in range(2))
            mute.bind((address, port))
            mute.listen(0)
            only.connect((address, port))
        yield


class Told(Addresses):
    """Addresses of which some are told when somebody writes to the other end."""

    def __init__(self, known, later):
        super().__init__(known)
        self.ours, self.theirs = socket.socketpair()
        self.later = later

    @property
    def waiting(self):
        return self.ours if self.later else None

    def more(self):
        new, self.later = tuple(self.later), ()
        self.known += new
        return new

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        self.theirs.close()


def won(addresses, port, within_ns=20 * S):
    """The address that won, and how long that took in ns."""
    if not isinstance(addresses, Addresses):
        addresses = Addresses(addresses)
    began_ns = time.monotonic_ns()
    made, address = connect(addresses, port, time.time_ns() + within_ns)
    took_ns = time.monotonic_ns() - began_ns
    with made:
        assert made.getpeername()[:2] == (address, port)
        assert not made.getblocking()
    return address, took_ns


@pytest.fixture
def attempts(monkeypatch):
    """The addresses that were tried, in order."""
    tried = []
    attempt = racing._Race._attempt

    def noted(race, address):
        tried.append(address)
        attempt(race, address)

    monkeypatch.setattr(racing._Race, "_attempt", noted)
    return tried


def test_families_take_turns_and_ipv6_begins():
    assert interleaved(["10.0.0.1", "10.0.0.2", "::1", "::2", "10.0.0.3"]) == [
        "::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3",
    ]  # fmt: skip


@given(st.lists(st.sampled_from(["::1", "::2", "::3", "1.1.1.1", "1.1.1.2", "1.1.1.3"]), unique=True))
def test_interleaving_loses_nobody_and_keeps_each_familys_order(addresses):
    found = interleaved(addresses)
    for family in (":", "."):
        assert [a for a in found if family in a] == [a for a in addresses if family in a]


def test_who_answers_is_connected_to_and_nobody_else_tried(attempts):
    with listening("::1") as port:
        assert won(("127.0.0.1", "::1"), port)[0] == "::1"
    assert attempts == ["::1"]


def test_who_refuses_is_left_at_once_for_the_other_family(attempts):
    with listening("127.0.0.3") as port:
        address, _ = won(("::1", "2001:db8::1", "127.0.0.2", "127.0.0.3"), port)
    assert address == "127.0.0.3"
    assert attempts == ["::1", "127.0.0.2", "2001:db8::1", "127.0.0.3"]


def test_who_is_silent_is_raced_by_the_next_after_the_attempt_delay(attempts):
    with listening("127.0.0.1") as port, silent(port, "::1", "127.0.0.2"):
        address, took_ns = won(("::1", "127.0.0.2", "127.0.0.1"), port)
    assert address == "127.0.0.1"
    assert attempts == ["::1", "127.0.0.2", "127.0.0.1"]
    assert took_ns >= 2 * ATTEMPT_DELAY_NS


def test_an_answer_of_the_dns_joins_the_race(attempts):
    with listening("127.0.0.1") as port, silent(port, "::1"), Told(["::1"], ["127.0.0.1"]) as told:
        told.theirs.send(b"!")
        address, took_ns = won(told, port)
    assert address == "127.0.0.1"
    assert attempts == ["::1", "127.0.0.1"]
    assert took_ns >= ATTEMPT_DELAY_NS


def test_all_known_have_failed_but_an_answer_is_due(attempts):
    with listening("127.0.0.1") as port, Told(["::1"], ["127.0.0.1"]) as told:
        told.theirs.send(b"!")
        assert won(told, port)[0] == "127.0.0.1"
    assert attempts == ["::1", "127.0.0.1"]


def test_nobody_answers_in_time():
    with listening("127.0.0.1") as port, silent(port, "::1"), pytest.raises(OutOfTimeError):
        won(("::1",), port, S // 10)


def test_everybody_refuses():
    with listening("127.0.0.1") as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        won(("::1", "127.0.0.1"), port)
    with pytest.raises(OSError, match="assign requested address") as nobody:
        won((), port)
    assert nobody.value.errno == errno.EADDRNOTAVAIL
