from __future__ import annotations

import os
import random
import resource
import select
import socket
import threading
import time
from contextlib import closing

import pytest
from servers import resolver

from testbed.services.stub import (
    RESOLUTION_DELAY_NS,
    TIMEOUT_NS,
    NoAddressError,
    NoSuchNameError,
    ServerFailedError,
    Stub,
    TimedOutError,
    UnreachableError,
)


def stub(port, **patience):
    return Stub("127.0.0.1", random.Random(1), port=port, **patience)


def test_an_alias_is_followed_and_cached():
    with resolver({"oca-n1.cdn.example": "10.9.8.7"}) as (port, asked):
        one = stub(port)
        address, latency_ns = one.resolve("oca-n1.cdn.example")
        assert address == "10.9.8.7"
        assert latency_ns > 0
        assert one.resolve("oca-n1.cdn.example") == ("10.9.8.7", 0)
    assert asked == ["oca-n1.cdn.example"]


def test_what_has_outlived_its_ttl_is_asked_again():
    with resolver({"a.example": "10.0.0.1"}, ttl=0) as (port, asked):
        one = stub(port)
        one.resolve("a.example")
        one.resolve("a.example")
    assert asked == ["a.example", "a.example"]


@pytest.mark.parametrize(
    ("name", "rcode", "error", "times"),
    [
        ("missing.example", 0, NoSuchNameError, 1),
        ("v6only.example", 0, NoAddressError, 1),
        ("any.example", 2, ServerFailedError, 2),
        ("any.example", 5, ServerFailedError, 2),
        ("silent.example", 0, TimedOutError, 2),
    ],
)
def test_failures_have_names(name, rcode, error, times):
    zone = {"v6only.example": "", "silent.example": "silence"}
    named = pytest.raises(error, match=f"^dns {error.word}: {name}$")
    with resolver(zone, rcode=rcode) as (port, asked), named as raised:
        # only who gets no answer has to wait, so that a slow machine does not ask twice
        stub(port, timeout_ns=20_000_000 if error is TimedOutError else 10**10).resolve(name)
    assert len(asked) == times
    assert raised.value.latency_ns > 0


def test_a_closed_port_is_noticed_at_once():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UnreachableError):
        stub(port).resolve("a.example")


def test_it_stops_waiting_when_the_scenario_ends():
    with resolver({"a.example": "silence"}) as (port, asked), pytest.raises(TimedOutError) as raised:
        stub(port).resolve("a.example", time.time_ns() + 50_000_000)
    assert len(asked) == 1
    assert raised.value.latency_ns >= 50_000_000


def both(port):
    return closing(Stub("127.0.0.1", random.Random(1), port=port, families=(4, 6)))


def test_of_both_families_ipv6_comes_first():
    with resolver({"oca.test": "192.0.2.1 2001:db8::1"}) as (port, asked), both(port) as stub:
        found, _ = stub.addresses("oca.test")
        if found.waiting is not None:
            select.select([found.waiting], [], [], 10)
        assert stub.addresses("oca.test") == (found, 0)  # out of the cache
        assert found.known == ("2001:db8::1", "192.0.2.1")
        assert stub.resolve("oca.test") == ("2001:db8::1", 0)
        assert asked == ["oca.test"] * 2


def test_a_family_without_an_address_is_left_out():
    with resolver({"four.test": "192.0.2.1", "six.test": "2001:db8::1"}) as (port, _), both(port) as stub:
        assert stub.addresses("four.test")[0].known == ("192.0.2.1",)
        assert stub.resolve("six.test")[0] == "2001:db8::1"
        only = Stub("127.0.0.1", random.Random(1), port=port)
        with pytest.raises(NoAddressError):
            only.addresses("six.test")


def test_an_ipv4_address_waits_for_ipv6_no_longer_than_the_resolution_delay():
    with resolver({"oca.test": "192.0.2.1 silence:"}) as (port, _), both(port) as stub:
        found, latency_ns = stub.addresses("oca.test")
        assert found.known == ("192.0.2.1",)
        assert RESOLUTION_DELAY_NS <= latency_ns < TIMEOUT_NS
        assert found.waiting is not None  # the answer may still come
        assert found.more() == ()


def test_an_ipv6_address_waits_for_nothing_and_ipv4_joins_it_when_it_comes():
    held = threading.Event()
    with (
        resolver({"oca.test": "2001:db8::1 192.0.2.1"}, held={"A": held}) as (port, asked),
        both(port) as stub,
    ):
        found, _ = stub.addresses("oca.test")  # the other answer is held back until we say so
        assert found.known == ("2001:db8::1",)
        assert stub.addresses("oca.test")[0].known == ("2001:db8::1",)
        held.set()
        assert select.select([found.waiting], [], [], 10)[0]
        assert stub.addresses("oca.test") == (found, 0)
        assert found.known == ("2001:db8::1", "192.0.2.1")
        assert found.waiting is None
        assert len(asked) == 2


def test_what_comes_late_and_says_nothing_changes_nothing():
    held = threading.Event()
    with resolver({"oca.test": "2001:db8::1"}, held={"A": held}) as (port, _), both(port) as stub:
        found, _ = stub.addresses("oca.test")
        held.set()
        assert select.select([found.waiting], [], [], 10)[0]
        assert found.more() == ()
        assert (found.known, found.waiting) == (("2001:db8::1",), None)


@pytest.fixture
def crowd():
    """So many open files that what is opened next has a number that select(2) does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
    yield
    for file in files:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_late_answer_is_looked_for_in_a_crowd_too(crowd):
    held = threading.Event()
    with resolver({"oca.test": "2001:db8::1"}, held={"A": held}) as (port, _), both(port) as stub:
        found, _ = stub.addresses("oca.test")
        assert found.waiting.fileno() > 1023
        poll = select.poll()
        poll.register(found.waiting, select.POLLIN)
        assert stub.addresses("oca.test") == (found, 0)
        held.set()
        assert poll.poll(10_000)
        assert stub.addresses("oca.test") == (found, 0)
        assert found.waiting is None
