import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from captures import MS, Network, S, udp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.measure.tables import Tables, write

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"
COLUMNS = "select t_ns, node, server, qname, qtype, rcode, answers, latency_ns from dns"


def asked(name="oca.cdn.example.", kind="A", ident=7):
    return dns.message.make_query(name, kind, id=ident)


def answered(query, *records, rcode=dns.rcode.NOERROR):
    answer = dns.message.make_response(query)
    answer.set_rcode(rcode)
    for kind, value in records:
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, value))
    return answer


def send(net, t_ns, path, ports, message):
    net.send(t_ns, path, udp(*ports, message.to_wire()), proto=17)


def table(net, folder, query=COLUMNS):
    write(net.write(folder, rings=True, snap=65535))
    return Tables(folder).sql(query)


def test_a_query_and_its_answer_are_one_row_timed_at_the_asker(tmp_path):
    net = Network()
    send(net, 5 * MS, UP, (4000, 53), asked("OCA.cdn.example."))
    send(net, 20 * MS, DOWN, (53, 4000), answered(asked(), ("A", "10.0.0.7")))
    # what s1 sends at 20 ms is on c1's link 3 ms later
    assert table(net, tmp_path) == [
        (5 * MS, "c1", "s1", "oca.cdn.example", "A", "NOERROR", ["A 10.0.0.7"], 18 * MS)
    ]


@pytest.mark.parametrize("late_ns", [None, 6 * S])
def test_a_query_without_an_answer_in_time_has_nulls(tmp_path, late_ns):
    net = Network()
    send(net, 0, UP, (4000, 53), asked())
    if late_ns:
        send(net, late_ns, DOWN, (53, 4000), answered(asked()))
    assert table(net, tmp_path, "select rcode, answers, latency_ns from dns") == [(None, None, None)]


def test_queries_of_one_port_are_told_apart_by_their_number(tmp_path):
    net = Network()
    for ident, kind in ((1, "A"), (2, "AAAA")):
        send(net, ident * MS, UP, (4000, 53), asked(kind=kind, ident=ident))
    send(net, 10 * MS, DOWN, (53, 4000), answered(asked(kind="AAAA", ident=2), rcode=dns.rcode.NXDOMAIN))
    send(net, 12 * MS, DOWN, (53, 4000), answered(asked(ident=1), ("A", "10.0.0.7")))
    found = table(net, tmp_path, "select qtype, rcode, answers, latency_ns from dns")
    assert found == [("A", "NOERROR", ["A 10.0.0.7"], 14 * MS), ("AAAA", "NXDOMAIN", [], 11 * MS)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_what_is_no_dns_is_passed_over(tmp_path, datagrams):
    net = Network()
    for number, data in enumerate(datagrams):
        net.send(number, UP, udp(4000, 53, data), proto=17)
    send(net, S, UP, (4001, 53), asked())
    assert ("oca.cdn.example",) in table(net, tmp_path, "select qname from dns")
