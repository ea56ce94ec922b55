"""Equal OCAs share clients as a hash has it, in the guest: S4 and S10, on what clients really fetched.

120 clients watch the same title twice, first with two equal OCAs in use, then with three.
"""

import math

import pytest
from test_steered import run

from testbed.measure.tables import Tables

CLIENTS = 120
pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return Tables(run("shared", tmp_path_factory.mktemp("shared")))


@pytest.fixture(scope="module")
def moves(tables):
    """The OCAs that served each client in the first and in the second half."""
    rows = tables.sql(
        """select any_value(ocas[1]) filter (start_ns < 20e9), any_value(ocas[1]) filter (start_ns > 20e9)
           from sessions group by client"""
    )
    assert len(rows) == CLIENTS
    return rows


def test_s4_equal_ocas_share_the_clients_evenly(moves):
    share = sum(before == "oca-a" for before, _ in moves) / CLIENTS
    assert abs(share - 0.5) <= 1.96 * math.sqrt(0.25 / CLIENTS)


def test_s10_an_oca_more_takes_its_share_and_moves_nothing_else(moves):
    moved = [after for before, after in moves if before != after]
    assert set(moved) == {"oca-c"}
    assert abs(len(moved) / CLIENTS - 1 / 3) <= 3 * math.sqrt(1 / 3 * 2 / 3 / CLIENTS)


def test_bytes_went_where_steering_sent_the_clients(tables, moves):
    """The wire of each OCA carried the title once for each client that it was given."""
    size = tables.scalar("select max(bytes) from requests where status = 206")
    for oca in ("oca-a", "oca-b", "oca-c"):
        served = sum((before == oca) + (after == oca) for before, after in moves)
        sent = tables.scalar(
            """select sum(unique_down)::bigint from flows
               where server = ? and node = ? and client like 'north.homes%'""",
            oca, oca,
        )  # fmt: skip
        # a TLS handshake, tickets and headers are 3 KiB at most
        assert served * size < sent < served * (size + 3 * 1024)
