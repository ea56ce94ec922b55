from __future__ import annotations

import random
import socket
import time

import pytest
from servers import resolver

from testbed.services.stub import (
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
