"""Routing is broken in every way, and the tables tell how it got over it: a run in the guest."""

import json
from pathlib import Path

import pytest
from servers import GATHERS_NS, INSTALLS_NS, installed
from typer.testing import CliRunner

from testbed import pipeline, registry
from testbed.cli import app
from testbed.job import Job
from testbed.measure.tables import Tables
from testbed.venues.guest import Guest

HERE = Path(__file__).parent
MS, S = 10**6, 10**9
OWN, INSIDE = "10.1.0.0/18", "10.1.0.0/24"
DELAY_NS = 5 * MS
SLOWER = {"bird": [], "frr": ["checks.0.max=2.6s", "checks.1.max=265ms", "checks.3.max=2.6s"]}

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module", params=["bird", "frr"])
def result(request, tmp_path_factory):
    if not installed(registry.kinds("daemons")[request.param]):
        pytest.skip(f"{request.param} is not installed")
    sets = [f"topology.defaults.daemon={request.param}", *SLOWER[request.param]]
    job = pipeline.plan(HERE / "routing" / "faults.yaml", sets=sets)
    done = pipeline.run(job, Guest(), tmp_path_factory.mktemp("routing"), lambda *_: None)
    assert not done.reason, done.evidence
    return done


@pytest.fixture
def daemon(result):
    return Job.read(result.run).routing["a.r"].daemon


@pytest.fixture
def hop_ns(daemon):
    """What news take to the next router, and there into what it tells others."""
    return DELAY_NS + GATHERS_NS[daemon]


@pytest.fixture
def kernel_ns(daemon):
    """What they take from there into its kernel."""
    return GATHERS_NS[daemon] + INSTALLS_NS[daemon]


@pytest.fixture(scope="module")
def tables(result):
    return Tables(result.run)


def row(tables, fault, phase, prefix):
    names = (
        "withdraws", "paths", "first_withdraw_ns", "last_update_ns", "last_route_ns", "lost_ns", "loop_ns",
        "diverted_ns", "lost_routers", "diverted_routers",
    )  # fmt: skip
    rows = tables.sql(
        f"select {', '.join(names)} from convergence where fault = ? and phase = ? and prefix = ?",
        fault, phase, prefix,
    )  # fmt: skip
    assert len(rows) == 1
    return dict(zip(names, rows[0], strict=True))


def test_every_fault_struck_and_healed(result):
    verdict = json.loads((result.run / "verdict.json").read_text())
    assert [(fault["took_hold"], fault["healed"]) for fault in verdict["faults"]] == [(True, True)] * 4
    assert result.verdict == "pass", verdict


def test_a_withdrawn_prefix_is_lost_everywhere_until_it_is_back(tables, hop_ns, kernel_ns):
    struck, healed = row(tables, 1, "struck", OWN), row(tables, 1, "healed", OWN)
    assert struck["first_withdraw_ns"] == pytest.approx(hop_ns, abs=MS)
    # p tells b and q; what q then knows from b alone, and b from q, is gone a link's delay later
    assert struck["last_update_ns"] == pytest.approx(3 * hop_ns, abs=MS)
    assert struck["lost_routers"] == 3
    assert struck["lost_ns"] == pytest.approx(3 * S - hop_ns - kernel_ns, abs=MS)
    assert healed["lost_ns"] == pytest.approx(2 * hop_ns + kernel_ns, abs=MS)


def test_a_hijack_diverts_some_of_the_prefix_and_everybody_of_one_inside_it(tables, daemon):
    same, inside = row(tables, 2, "struck", OWN), row(tables, 2, "struck", INSIDE)
    assert (same["diverted_routers"], inside["diverted_routers"]) == (
        2,
        4,
    )  # p stays with a
    assert inside["diverted_ns"] == pytest.approx(3 * S - INSTALLS_NS[daemon], abs=MS)
    assert same["lost_ns"] == 0


def test_after_it_a_loop_lasts_as_long_as_the_news_is_under_way(tables, hop_ns):
    """q still leads to b by what b has withdrawn, and b to p by what p says."""
    healed = row(tables, 2, "healed", INSIDE)
    assert 0 < healed["loop_ns"] <= 4 * hop_ns + MS
    assert healed["paths"] == 2  # explored before it was given up


def test_probes_see_what_the_forwarding_tables_say(tables, hop_ns):
    """A probe each 10 ms from every network: what it meets is there within one, and what is under way."""
    every, slack = 10 * MS, 10 * MS + 4 * hop_ns
    rows = tables.sql(
        "select fault, phase, prefix, lost_ns, loop_ns, diverted_ns, probes_lost_ns, probes_loop_ns,"
        " probes_diverted_ns, last_route_ns, probes_settled_ns from convergence"
        " where prefix in (?, ?) order by fault, phase", OWN, INSIDE,
    )  # fmt: skip
    assert len(rows) == 16
    for _, _, _, lost, loop, diverted, *probed, last_route, settled in rows:
        for told, seen in zip((lost, loop, diverted), probed, strict=True):
            assert seen == pytest.approx(told, abs=slack)
            assert told <= every or seen > 0
        if last_route is not None:
            assert settled <= last_route + slack
    assert max(row[7] for row in rows) > 0  # the loop was met by packets


def test_a_probe_goes_its_way_link_by_link(tables):
    (way,) = tables.sql(
        "select ended, links, took_ns, loop from probes where node = 'q.r' and prefix = ? and t_ns = ?",
        OWN, S,
    )  # fmt: skip
    assert way[:2] == ("a.r", ["p.r--q.r", "a.r--p.r"])
    assert way[2] == pytest.approx(2 * DELAY_NS, abs=MS)
    assert not way[3]


def test_a_session_that_is_shut_says_so_and_the_network_behind_it_is_lost(tables):
    reasons = tables.sql(
        "select distinct reason from bgp where kind = 'notification' and t_ns between ? and ?", 14 * S, 17 * S
    )
    assert all(reason.startswith("cease: ") for (reason,) in reasons)
    assert reasons
    assert row(tables, 3, "struck", OWN)["lost_routers"] == 3


def test_a_leak_leads_through_who_leaks(result):
    def way(at):
        told = ["traceroute", str(result.run), "q.r", "10.1.48.1", "--at", at, "-f", "json"]
        return [hop["node"] for hop in json.loads(CliRunner().invoke(app, told).stdout)["hops"]]

    assert way("33s") == ["q.r", "p.r", "a.r"]
    assert way("35s") == ["q.r", "b.r", "p.r", "a.r"]
    assert way("45s") == ["q.r", "p.r", "a.r"]
