"""Probes: where they are sent from and to, and how each is known again on every link."""

from types import SimpleNamespace

import pytest

from testbed import model
from testbed.job import PROBES_APART, Probe
from testbed.measure.probes import probes
from testbed.plan import plan

MS = 10**6
TOPOLOGY = """
name: pair
isps:
  one: {asn: 64501, routers: [a, b], prefix: 10.1.0.0/16}
  two: {asn: 64502, routers: [r]}
hosts:
  far: {at: one.a, address: 10.1.200.254}
links:
  - {endpoints: [one.a, one.b]}
  - {endpoints: [one.a, two.r], relation: peer}
"""
SCENARIO = """
name: probed
topology: pair.yaml
duration: 10s
"""
NOTHING = "no fault names a prefix that could be probed; write to: and a list of prefixes"
HIJACK = "faults: [{kind: prefix-hijack, router: two.r, at: 2s, lasts: 2s, prefixes: [10.1.0.0/24]}]\n"


@pytest.fixture
def planned(tmp_path):
    (tmp_path / "pair.yaml").write_text(TOPOLOGY)

    def planned(text):
        (tmp_path / "probed.yaml").write_text(SCENARIO + text)
        return plan(model.load_scenario(tmp_path / "probed.yaml"))

    return planned


def test_they_go_from_every_network_to_what_the_faults_name(planned):
    job = planned(HIJACK + "probes: {every: 20ms}")
    assert job.probe_every_ns == 20 * MS
    assert job.probes == (
        Probe(node="one.a", source="10.1.48.1", prefix="10.1.0.0/24", address="10.1.0.254"),
        Probe(node="two.r", source="10.2.48.1", prefix="10.1.0.0/24", address="10.1.0.254"),
    )


def test_they_go_from_where_and_to_what_is_written_and_never_to_a_node(planned):
    job = planned('probes: {to: [10.1.200.0/24, "2001:db8:1::/52"], from: [one.b]}')
    assert [(each.node, each.address) for each in job.probes] == [
        ("one.b", "10.1.200.253"), ("one.b", "2001:db8:1:fff:ffff:ffff:ffff:fffe"),
    ]  # fmt: skip
    assert job.probes[1].source == job.node("one.b").address6


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            "probes: {every: 1s}",
            NOTHING,
        ),
        ("probes: {to: [10.1.0.0/24], every: 1us}", "1us is too often; write at least 1ms"),
        ("probes: {to: [10.1.0.0/24], from: [one.c]}", "there is no router 'one.c'; did you mean one.b?"),
    ],
)
def test_what_cannot_be_probed_is_refused(planned, text, refusal):
    with pytest.raises(model.Refused) as refused:
        planned(text)
    assert [f"{each.what}; {each.hint}" for each in refused.value.problems] == [refusal]


def seen(planned, *rows):
    """The table of probes of a job to 10.1.0.0/24 from two.r, of which these packets were captured."""
    job = planned("probes: {every: 10ms, to: [10.1.0.0/24], from: [two.r]}")
    packets = [(*row, job.probes[0].source, job.probes[0].address) for row in rows]
    return list(probes(SimpleNamespace(job=job, sql=lambda *_: packets)))


def length(number):
    return 14 + 20 + 8 + number % PROBES_APART


def test_a_probe_is_known_by_its_length_and_one_that_was_not_seen_never_left(planned):
    late = PROBES_APART + 3
    table = seen(
        planned,
        (30 * MS + 5, "one.a", "one.a--two.r", "in", length(3)),
        (30 * MS + 7, "one.a", "one.a--one.b", "out", length(3)),
        (late * 10 * MS + 95 * MS, "one.a", "one.a--two.r", "in", length(late)),  # nine more are under way
    )
    assert len(table) == 1000
    third, other = table[3], table[late]
    assert (third["ended"], third["took_ns"]) == ("one.b", 7)
    assert third["links"] == ["one.a--two.r", "one.a--one.b"]
    assert (other["ended"], other["took_ns"]) == ("one.a", 95 * MS)
    assert {(row["ended"], row["took_ns"]) for row in table if row not in (third, other)} == {("two.r", None)}


def test_who_crosses_a_link_twice_in_one_direction_is_in_a_loop(planned):
    there, back = ("one.a", "one.a--two.r", "in"), ("one.a", "one.a--two.r", "out")
    table = seen(planned, *((10 * MS + at, *way, length(1)) for at, way in enumerate((there, back, there))))
    assert [row["number"] for row in table if row["loop"]] == [1]
    table = seen(planned, *((10 * MS + at, *way, length(1)) for at, way in enumerate((there, back))))
    assert not any(row["loop"] for row in table)
