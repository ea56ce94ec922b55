"""The DNS as a steering mechanism: what a resolver is told, for itself or for a client's prefix."""

import dns.edns
import dns.flags
import dns.message
import pytest
from test_steered import run

from testbed.measure.tables import Tables
from testbed.services.control import ControlPlane
from testbed.services.names import Names

S = 10**9
ADDRESSES = {"oca-n1": ["10.1.32.1", "2001:db8:1::1"], "oca-s1": ["10.2.32.1"], "origin": ["10.9.0.1"]}


@pytest.fixture
def names():
    plane = ControlPlane({
        "zone": "cdn.example", "mode": "dns", "urls": 3, "ttl_s": 30, "stale_ns": 15 * S,
        "sites": {"oca-n1": {"embedded": True}, "oca-s1": {"embedded": True}},
        "policy": {"source": "testbed.steering.open_connect:OpenConnect"},
        "origin": {"oca": "origin", "url": "https://origin.cdn.example/", "titles": ["film", "rare"]},
    })  # fmt: skip
    for oca, prefix in (("oca-n1", "10.1.0.0/16"), ("oca-s1", "10.2.0.0/16")):
        routes = [
            {"prefix": prefix, "as_path": [1], "med": None},
            {"prefix": "2001:db8::/32", "as_path": [1, 2]},
        ]
        plane.report({"oca": oca, "healthy": True, "titles": ["film"], "routes": routes}, 0)
    return Names("cdn.example", ADDRESSES, 20, lambda title, client: plane.steer(title, client, S))


def asked(names, name, kind="A", resolver="10.1.56.1", **edns):
    query = dns.message.make_query(name, kind, **edns)
    return dns.message.from_wire(names.answer(query.to_wire(), resolver))


def told(answer):
    return [item.to_text() for rrset in answer.answer for item in rrset]


def test_a_resolver_is_told_the_oca_that_is_best_for_its_own_address(names):
    answer = asked(names, "film.edge.cdn.example")
    assert (told(answer), answer.answer[0].ttl) == (["10.1.32.1"], 20)
    assert answer.flags & dns.flags.AA
    assert told(asked(names, "film.edge.cdn.example", resolver="10.2.56.1")) == ["10.2.32.1"]


def test_a_clients_prefix_counts_more_than_the_resolver(names):
    option = dns.edns.ECSOption("10.2.64.0", 24)
    answer = asked(names, "film.edge.cdn.example", use_edns=0, options=[option])
    assert told(answer) == ["10.2.32.1"]
    (scoped,) = answer.options
    assert (scoped.address, scoped.scopelen) == ("10.2.64.0", 24)


def test_each_family_has_its_own_addresses_and_none_is_no_error(names):
    assert told(asked(names, "film.edge.cdn.example", "AAAA")) == ["2001:db8:1::1"]
    answer = asked(names, "film.edge.cdn.example", "AAAA", resolver="10.2.56.1")
    assert (told(answer), answer.rcode(), len(answer.authority)) == ([], 0, 1)


def test_nobody_else_has_it_so_it_is_the_origin(names):
    assert told(asked(names, "rare.edge.cdn.example")) == ["10.9.0.1"]
    assert told(asked(names, "film.edge.cdn.example", resolver="192.0.2.1")) == ["10.9.0.1"]


@pytest.mark.parametrize(
    ("name", "rcode"),
    [("other.edge.cdn.example", 3), ("a.b.edge.cdn.example", 3), ("edge.cdn.example", 0), ("www.example", 5)],
)
def test_what_is_not_there_is_said_so(names, name, rcode):
    answer = asked(names, name)
    assert (answer.rcode(), told(answer)) == (rcode, [])


def test_what_is_no_query_gets_no_answer(names):
    assert names.answer(b"nonsense", "10.1.56.1") is None


def test_over_https_a_client_gets_the_one_name_and_the_origin():
    plane = ControlPlane({
        "zone": "cdn.example", "mode": "dns", "urls": 3, "ttl_s": 30, "stale_ns": 15 * S, "sites": {},
        "policy": {"source": "testbed.steering.open_connect:OpenConnect"},
        "origin": {"oca": "origin", "url": "https://origin.cdn.example/", "titles": ["film"]},
    })  # fmt: skip
    assert plane.answer("film", "10.1.64.1", 0).answer["urls"] == [
        {"oca": "edge", "url": "https://film.edge.cdn.example/film/"},
        {"oca": "origin", "url": "https://origin.cdn.example/film/"},
    ]
    assert plane.answer("other", "10.1.64.1", 0).status == 404


@pytest.mark.guest
def test_a_change_is_learned_when_the_address_is_no_longer_good(tmp_path):
    """Drained at 9 s: with lists the next session knows, by the DNS who comes 20 s after a look-up."""
    tables = Tables(run("named", tmp_path))
    first_ns = tables.scalar(
        "select min(t_ns) from dns where server = 'steering' and qname like 'film.edge.%'"
    )
    went = tables.sql(
        """select distinct start_ns > ?, server from flows where node = client and client like 'north.homes%'
           and dport = 443 and server != 'steering'""",
        first_ns + 20 * S,
    )
    assert sorted(went) == [(False, "oca-b"), (True, "oca-a")]
    between = (
        "select count(*) from flows where node = client and server = 'oca-b' and start_ns between 9e9 and ?"
    )
    assert tables.scalar(between, first_ns + 20 * S) == 3
    # one look-up for a whole ISP, however many clients ask
    asked = tables.sql(
        """select client, count(distinct decision), max(oca) filter (place = 1 and t_ns < 9e9),
           max(oca) filter (place = 1 and t_ns > 9e9) from steering where mode = 'dns' group by client"""
    )
    ((client, decisions, before, after),) = asked
    assert (client, before, after) == ("north.resolver", "oca-b", "oca-a")
    assert decisions <= 6  # of both families, twice; unbound asks for the delegation's server besides
    assert tables.scalar("select count(*) from sessions where outcome != 'completed'") == 0
