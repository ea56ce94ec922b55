from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Oca, https, identity

from testbed.services.http import CUT, GULP, LEAST, RECORD, Client, low_water
from testbed.services.racing import ATTEMPT_DELAY_NS

SECOND = 10**9
MEGABYTE = bytes(1_000_000)


@pytest.fixture(scope="module")
def who(tmp_path_factory):
    return identity(tmp_path_factory.mktemp("ca"), "oca.test")


@pytest.fixture
def oca(who):
    with https(who, Oca(content={"/film": MEGABYTE, "/small": b"abc"})) as server:
        yield server


@pytest.fixture
def client(who):
    with Client(who.certificate, 2 * SECOND) as made:
        yield made


def url(oca, path):
    return f"https://oca.test:{oca.port}{path}"


def test_a_range_is_counted_and_timed(oca, client):
    response = client.get(
        url(oca, "/film"), "127.0.0.1", span=(1000, 700_999), headers=("X-Request-Id: s1-1",)
    )
    assert (response.status, response.size, response.body, response.error) == (206, 700_000, b"", "")
    assert 0 < response.connect_ns < response.first_byte_ns <= response.total_ns
    assert 0 < response.tls_ns < response.first_byte_ns
    assert oca.ranges == [("/film", "s1-1")]


def test_a_connection_is_used_again(oca, client):
    client.get(url(oca, "/film"), "127.0.0.1", span=(0, 9))
    again = client.get(url(oca, "/film"), "127.0.0.1", span=(10, 99))
    assert (again.connect_ns, again.tls_ns, again.size) == (0, 0, 90)
    assert len(oca.connections) == 1


@pytest.mark.parametrize(
    "size", [1, 2, LEAST, RECORD, RECORD + LEAST, GULP - 1, GULP, GULP + RECORD, 300_001]
)
def test_no_size_hangs_on_a_connection_with_a_raised_low_water_mark(oca, client, size):
    client.get(url(oca, "/film"), "127.0.0.1")
    response = client.get(url(oca, "/film"), "127.0.0.1", span=(0, size - 1))
    assert (response.size, response.error) == (size, "")
    assert client.get(url(oca, "/small"), "127.0.0.1", keep=True).body == b"abc"


def test_the_mark_is_raised_within_a_body_only(oca, client, monkeypatch):
    waits = []
    wait = Client._wait

    def noted(waiting, now_ns, deadlines):
        if waiting._flow is not None:
            waits.append((waiting._size, waiting._flow.low_water))
        return wait(waiting, now_ns, deadlines)

    monkeypatch.setattr(Client, "_wait", noted)
    for _ in range(3):
        assert client.get(url(oca, "/film"), "127.0.0.1").ok
    assert client.get(url(oca, "/drip"), "127.0.0.1").ok
    assert max(mark for _, mark in waits) > LEAST
    assert {mark for size, mark in waits if not size} == {1}
    assert all(mark <= len(MEGABYTE) - size - RECORD for size, mark in waits if mark > 1)


def test_a_chunked_body_has_no_length_and_no_mark(oca, client):
    client.get(url(oca, "/film"), "127.0.0.1")
    assert client.get(url(oca, "/chunked"), "127.0.0.1").size == 200_000


def test_a_status_is_not_an_error_of_the_transport(oca, client):
    response = client.get(url(oca, "/nothing"), "127.0.0.1", keep=True)
    assert (response.status, response.ok, response.error, response.body) == (
        404,
        False,
        "",
        b"no such file\n",
    )


def test_a_truncated_body_is_an_error(oca, client):
    client.get(url(oca, "/film"), "127.0.0.1")
    response = client.get(url(oca, "/short"), "127.0.0.1")
    assert (response.status, response.size, response.ok) == (200, 150_000, False)
    assert response.error == "connection lost"  # TLS tells it from an end (close_notify)


def test_silence_within_a_body_ends_after_the_timeout_and_not_before(oca, who):
    with Client(who.certificate, SECOND // 4) as client:
        response = client.get(url(oca, "/stall"), "127.0.0.1")
    assert response.error == "timeout: no byte for 0.25 s"
    assert response.total_ns >= SECOND // 4
    assert 0 < response.size <= 150_000


def test_a_drip_below_the_mark_is_no_silence(oca, who):
    with Client(who.certificate, SECOND // 2) as client:
        client.get(url(oca, "/film"), "127.0.0.1")
        response = client.get(url(oca, "/drip"), "127.0.0.1")
    assert (response.size, response.error) == (60_000, "")
    assert response.total_ns > SECOND


def test_silence_before_the_answer_ends_after_the_timeout(who):
    with socket.create_server(("127.0.0.1", 0)) as mute, Client(who.certificate, SECOND // 10) as client:
        response = client.get(f"https://oca.test:{mute.getsockname()[1]}/", "127.0.0.1")
    assert (response.status, response.error) == (0, "timeout: no byte for 0.1 s")


def test_a_request_is_cut_at_its_time(oca, client):
    until_ns = time.time_ns() + SECOND // 5
    response = client.get(url(oca, "/stall"), "127.0.0.1", until_ns=until_ns)
    assert response.error == CUT
    assert response.start_unix_ns + response.total_ns >= until_ns
    assert client.get(url(oca, "/small"), "127.0.0.1", keep=True).body == b"abc"


def test_a_refused_connection_says_so(client):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    response = client.get(f"https://oca.test:{port}/", "127.0.0.1")
    assert (response.status, response.error) == (0, "cannot connect: ECONNREFUSED")


def test_an_unknown_certificate_is_refused(oca, tmp_path):
    with Client(identity(tmp_path, "oca.test").certificate, SECOND) as client:
        response = client.get(url(oca, "/small"), "127.0.0.1")
    assert (response.status, response.error) == (0, "certificate refused: nobody known signed it")


def test_a_connection_closed_while_idle_is_opened_again(who, client):
    with https(who, Oca(content={"/small": b"abc"}, close_idle=True)) as oca:
        for _ in range(3):
            assert client.get(url(oca, "/small"), "127.0.0.1", keep=True).body == b"abc"
    assert len(oca.connections) == 3


def test_a_longer_answer_than_asked_for_is_not_downloaded(oca, client):
    response = client.get(url(oca, "/stall"), "127.0.0.1", span=(0, 100_000))
    assert (response.error, response.size) == ("answer longer than asked for", 0)


def test_json_is_posted(oca, client):
    assert client.post_json(url(oca, "/v1/report"), "127.0.0.1", {"oca": "n1"}).body == b"{}"
    assert client.get(url(oca, "/small"), "127.0.0.1").ok
    assert oca.posted == [{"oca": "n1"}]


@given(
    current=st.integers(1, GULP),
    remaining=st.integers(-1, 10**7),
    carried=st.integers(0, 10**9),
)
def test_the_mark_never_waits_for_what_may_not_come(current, remaining, carried):
    mark = low_water(current, remaining, carried)
    assert (
        mark == 1 or LEAST <= mark <= min(GULP, remaining - RECORD) or mark == current <= remaining - RECORD
    )


def test_a_family_that_refuses_is_left_for_the_other(oca, client):
    response = client.get(url(oca, "/small"), ("::1", "127.0.0.1"))
    assert (response.error, response.address) == ("", "127.0.0.1")


def test_a_family_that_is_silent_is_raced_after_250_ms(oca, client):
    with socket.socket(socket.AF_INET6) as mute, socket.socket(socket.AF_INET6) as only:
        mute.bind(("::1", oca.port))
        mute.listen(0)
        only.connect(("::1", oca.port))  # who comes later gets no answer: the queue is full
        response = client.get(url(oca, "/small"), ("::1", "127.0.0.1"))
    assert (response.error, response.address) == ("", "127.0.0.1")
    assert response.connect_ns >= ATTEMPT_DELAY_NS
