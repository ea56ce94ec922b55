"""What a router announces can be changed while it runs: of its description, and what shows that."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testbed import model, registry
from testbed.measure.schema import TABLES
from testbed.measure.tables import Tables
from testbed.plan import plan
from testbed.routing import ASIDE
from testbed.testing import FakeNet

LEVERS = Path(__file__).parent.parent / "topologies" / "levers.yaml"
S = made.S


def planned(folder, words, neighbor="oca-n1"):
    path = folder / "scenario.yaml"
    path.write_text(
        f"name: x\ntopology: {LEVERS}\nduration: 60s\nfaults:\n"
        "  - {kind: announce-change, at: 10s, lasts: 9s, router: north.core, "
        f"neighbor: {neighbor}, {words}}}\n"
    )
    job = plan(model.load_scenario(path))
    (fault,) = job.faults
    given = {"at": fault.at_ns, "lasts": fault.lasts_ns, **fault.parameters}
    return job, registry.build("faults", fault.kind, given)


def struck(folder, words, neighbor="oca-n1"):
    """The router's session with the neighbour before and while the fault is in force."""
    job, fault = planned(folder, words, neighbor)
    net = FakeNet(job)

    def sessions():
        (routing,) = net.state()["north.core"]["routing"]
        return {session.neighbor: session for session in routing.sessions}

    before = sessions()
    with fault.strike(net):
        now = sessions()
    assert {**now, neighbor: before[neighbor]} == before
    return before[neighbor], now[neighbor]


def test_what_is_not_named_stays_as_it_is(tmp_path):
    before, now = struck(tmp_path, "prepend: 2, communities: [no-export, '64501:7']", neighbor="oca-n2")
    assert (before.sends.change.med, before.sends.change.prepend) == (50, 0)
    assert (now.sends.change.med, now.sends.change.prepend) == (50, 2)
    assert now.sends.change.add == (*before.sends.change.add, (65535, 65281), (64501, 7))
    assert now.sends.rules == before.sends.rules
    assert now.more == ()


def test_only_the_prefixes_named_are_told_and_a_part_of_ones_own_is_originated_for_the_neighbour(tmp_path):
    before, now = struck(tmp_path, "prefixes: [10.1.64.0/21, 10.1.64.0/22, 192.0.2.0/24, 2001:db8::/48]")
    own, customers = before.sends.rules
    aside, *rest = now.sends.rules
    assert aside.sources == (ASIDE,)
    assert now.more == ("10.1.64.0/22",)
    assert [rule.sources for rule in rest] == [own.sources, customers.sources]
    for rule in rest:
        told = [(ip_network(each.prefix), each.least, each.most) for each in rule.prefixes]
        assert told == [
            (net, net.prefixlen, net.prefixlen)
            for net in map(ip_network, ("10.1.64.0/21", "10.1.64.0/22", "192.0.2.0/24"))
        ]


def test_no_prefixes_are_nothing(tmp_path):
    _, now = struck(tmp_path, "prefixes: [], med: 7")
    assert now.sends.rules == ()


def told(t_s, kind, prefix="10.1.64.0/21", med=None):
    return {
        "t_ns": round(t_s * S), "node": "oca-n1", "peer": "north.core", "kind": kind, "prefix": prefix,
        "as_path": "64501" if kind == "announce" else "", "med": med,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "took_hold", "healed"),
    [
        ([told(-5, "announce"), told(10, "announce", med=9), told(20, "announce")], True, True),
        ([told(-5, "announce"), told(10, "withdraw"), told(20, "announce")], True, True),
        ([told(-5, "announce"), told(10, "announce", med=9)], True, False),
        ([told(-5, "announce"), told(10, "announce")], False, True),  # told again, and nothing else
        ([told(-5, "announce"), told(10, "announce", "10.1.64.0/22"), told(20, "withdraw", "10.1.64.0/22")],
         True, True),
        ([told(10, "announce", med=9), told(20, "announce")], True, None),  # nothing was captured before
        ([], None, None),
    ],
)  # fmt: skip
def test_what_the_neighbour_came_to_know_shows_whether_it_struck(tmp_path, rows, took_hold, healed):
    job, fault = planned(tmp_path, "med: 9")
    folder = made.run(tmp_path / "run", job)
    table = pa.Table.from_pylist(rows, TABLES["bgp"].arrow)
    pq.write_table(table, folder / "tables" / "bgp.parquet")
    tables = Tables(folder)
    assert (fault.took_hold(tables), fault.healed(tables)) == (took_hold, healed)
