"""How a neighbour's silence is noticed, and what keeps a session safe: on packets, in virtual time."""

import dataclasses
from itertools import pairwise

import pytest
from servers import GATHERS_NS, installed

from testbed import configurations, pipeline, registry
from testbed.job import Fault
from testbed.measure import tables
from testbed.measure.tables import Tables
from testbed.venues.guest import Guest

pytestmark = pytest.mark.guest

MS, S = 1_000_000, 1_000_000_000
STRUCK_NS = 10 * S
KILLED_NS = 30 * S

# A hub with a neighbour of each kind, and one who watches what the hub tells of them.
TOPOLOGY = """
name: silent
families: [ipv4]
defaults: {link: {delay: 1ms}}
isps:
  watch: {asn: 64500, routers: [a]}
  hub: {asn: 64501, routers: [a]}
  quick: {asn: 64502, routers: [a]}
  slow: {asn: 64503, routers: [a]}
  near: {asn: 64504, routers: [a]}
  loud: {asn: 64505, routers: [a], originate: [{prefix: 192.0.2.0/24}, {prefix: 198.18.0.0/24}]}
  plain: {asn: 64506, routers: [a]}
  graceful: {asn: 64507, routers: [a]}
  stale: {asn: 64508, routers: [a]}
links:
  - endpoints: [watch.a, hub.a]
    relation: provider
    bgp: {graceful-restart: {restart: false, long-lived: 60s}}
  - {endpoints: [quick.a, hub.a], relation: customer, bgp: {bfd: {interval: 300ms, multiplier: 3}}}
  - {endpoints: [slow.a, hub.a], relation: customer, bgp: {hold: 90s}}
  - {endpoints: [near.a, hub.a], relation: customer, bgp: {ttl-security: true}}
  - {endpoints: [loud.a, hub.a], relation: customer, bgp: {max-prefix: {prefixes: 2}}}
  - {endpoints: [plain.a, hub.a], relation: customer}
  - {endpoints: [graceful.a, hub.a], relation: customer, bgp: {graceful-restart: {time: 60s}}}
  - {endpoints: [stale.a, hub.a], relation: customer, bgp: {graceful-restart: {time: 3s, long-lived: 60s}}}
"""
# All packets vanish, both ways, while both carriers stay up.
SCENARIO = """
name: silent
topology: silent.yaml
duration: 105s
faults:
  - {kind: link-impair, link: quick.a--hub.a, at: 10s, lasts: 94s, loss: 100%}
  - {kind: link-impair, link: slow.a--hub.a, at: 10s, lasts: 94s, loss: 100%}
"""


@pytest.fixture(scope="module", params=["bird", "frr"])
def ran(request, tmp_path_factory):
    if not installed(registry.kinds("daemons")[request.param]):
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("silent")
    topology = TOPOLOGY.replace("defaults: {", f"defaults: {{daemon: {request.param}, ")
    (folder / "silent.yaml").write_text(topology)
    (folder / "scenario.yaml").write_text(SCENARIO)
    run = folder / "run"
    run.mkdir()
    job = pipeline.plan(folder / "scenario.yaml")
    killed = [
        Fault(
            id=number, kind="killed", source="outside_fault:Killed", at_ns=KILLED_NS, lasts_ns=10 * S,
            target=node, parameters={"node": node},
        )
        for number, node in enumerate(("plain.a", "graceful.a", "stale.a"), start=3)
    ]  # fmt: skip
    job = dataclasses.replace(job, faults=(*job.faults, *killed))
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    tables.write(run)
    return Tables(run)


@pytest.fixture
def slack_ns(ran):
    """What a hub that closed a session takes to say so: to forget the routes, and to choose anew."""
    return 2 * GATHERS_NS[configurations.daemon_of(ran.job.node("hub.a")).kind]


def noticed_ns(tables, prefix):
    """How long after the silence began the hub's neighbour is told that a prefix is gone."""
    rows = tables.sql(
        "select t_ns from bgp where node = 'watch.a' and kind = 'withdraw' and prefix = ? and t_ns > 0",
        prefix,
    )
    assert len(rows) == 1
    return rows[0][0] - STRUCK_NS


def test_bfd_notices_within_three_of_its_intervals(ran):
    """Three packets are missing, and the last came up to an interval before (RFC 5880, section 6.8.4)."""
    assert 600 * MS <= noticed_ns(ran, "10.3.0.0/18") <= 900 * MS
    sent = ran.sql(
        "select t_ns from packets where link = 'quick.a--hub.a' and node = 'quick.a' and dport = 3784"
        " and direction = 'out' and t_ns between 0 and ? order by t_ns", STRUCK_NS,
    )  # fmt: skip
    gaps = [(later - earlier) / MS for (earlier,), (later,) in pairwise(sent)]
    # less by up to a quarter, so that nobody falls into step (RFC 5880, section 6.8.7)
    assert len(gaps) > 30
    assert all(224 <= gap <= 301 for gap in gaps)


def test_a_hold_time_of_90_s_notices_within_it(ran, slack_ns):
    """No more than the hold time after the last message (RFC 4271, section 6.5), of which BIRD takes up to a
    quarter as it does of every timer (section 10); keepalives come each third of it, so the last of them
    came up to 30 s before the silence."""
    heard_ns = ran.scalar(
        "select max(t_ns) from packets where link = 'slow.a--hub.a' and node = 'slow.a' and direction = 'out'"
        " and tcp_len > 0 and t_ns < ?", STRUCK_NS,
    )  # fmt: skip
    assert heard_ns >= STRUCK_NS - 30 * S
    silent_ns = STRUCK_NS + noticed_ns(ran, "10.4.0.0/18") - heard_ns
    assert 67.5 * S <= silent_ns <= 90 * S + slack_ns


def test_a_session_with_ttl_security_is_heard_from_next_door(ran):
    """RFC 5082: sent with 255, which no router on the way can have left."""
    ttls = "select distinct ttl from packets where link = ? and tcp_len > 0"
    assert ran.sql(ttls, "near.a--hub.a") == [(255,)]
    assert ran.sql(ttls, "slow.a--hub.a") == [(1,)]
    assert ran.scalar("select count(*) from bgp where node = 'watch.a' and prefix = '10.5.0.0/18'") == 1


def test_who_announces_too_much_is_cut_off(ran):
    """A Cease, maximum number of prefixes reached (RFC 4486), and nothing afterwards."""
    closed = ran.sql(
        "select max(t_ns) from bgp where peer = 'hub.a' and node = 'loud.a' and kind = 'notification'"
    )
    assert closed[0][0] < 0
    told = "select count(*) from bgp where node = 'watch.a' and prefix = '192.0.2.0/24' and kind = ?"
    assert ran.scalar(told, "withdraw") == ran.scalar(told, "announce")
    assert ran.scalar("select count(*) from bgp where node = 'loud.a' and t_ns > 0") == 0


def told(tables, prefix):
    """What the hub's neighbour is told of a prefix after the start: when, what, with which communities."""
    return tables.sql(
        "select t_ns, kind, communities from bgp where node = 'watch.a' and prefix = ? and t_ns > 0"
        " order by t_ns", prefix,
    )  # fmt: skip


def test_a_graceful_restart_is_none_of_the_neighbours_business(ran, slack_ns):
    """All three are killed and started again; only without RFC 4724 is the prefix withdrawn, and at once."""
    (gone, kind, _), (_, again, _) = told(ran, "10.7.0.0/18")
    assert (kind, again) == ("withdraw", "announce")
    assert gone - KILLED_NS < 100 * MS + slack_ns
    assert told(ran, "10.8.0.0/18") == []


def test_a_long_lived_graceful_restart_makes_routes_stale(ran, slack_ns):
    """After the restart time of 3 s they are announced as LLGR_STALE, until learned anew (RFC 9494)."""
    (stale, first, communities), (fresh, second, none) = told(ran, "10.9.0.0/18")
    assert (first, communities, second, none) == ("announce", ["llgr-stale"], "announce", [])
    assert 3 * S <= stale - KILLED_NS <= 3.2 * S + slack_ns
    assert fresh > KILLED_NS + 10 * S
