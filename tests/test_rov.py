"""Routers that validate by the RPKI drop what is invalid, and nobody else does: a run in the guest."""

import json
from pathlib import Path

import pytest

from testbed import pipeline
from testbed.measure.tables import Tables
from testbed.venues.guest import Guest

HERE = Path(__file__).parent
S = 10**9
EVERYBODY = {"tier.a", "tier.b", "lax.a", "owner.a", "thief.a", "home.a"}
VALIDATE = {"tier.a", "tier.b", "home.a"}
EXPIRE_S, REFRESH_S, RETRY_S = 600, 60, 10  # of the cache in tests/routing/rov-topology.yaml
GONE_S, BACK_S = 100, 1100

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    job = pipeline.plan(HERE / "routing" / "rov.yaml")
    done = pipeline.run(job, Guest(), tmp_path_factory.mktemp("rov"), lambda *_: None)
    assert not done.reason, done.evidence
    return done


@pytest.fixture(scope="module")
def tables(result):
    return Tables(result.run)


def having(tables, prefix, at_s):
    """The nodes that have a route to just that prefix at a moment."""
    rows = tables.sql(
        "select node, arg_max(change, t_ns) from routes where prefix = ? and t_ns <= ? group by node",
        prefix, at_s * S,
    )  # fmt: skip
    return {node for node, change in rows if change != "removed"}


def test_every_hijack_was_told_and_the_cache_was_gone(result):
    verdict = json.loads((result.run / "verdict.json").read_text())
    assert [(fault["took_hold"], fault["healed"]) for fault in verdict["faults"]] == [(True, True)] * 4


@pytest.mark.parametrize("prefix", ["10.3.16.0/20", "2001:db8:3:4000::/52"])
def test_an_invalid_hijack_is_dropped_by_who_validates_and_by_nobody_else(tables, prefix):
    assert having(tables, prefix, 15) == EVERYBODY - VALIDATE


@pytest.mark.parametrize("prefix", ["10.3.64.0/20", "2001:db8:3:8000::/52"])
def test_a_more_specific_that_the_roa_allows_is_everywhere(tables, prefix):
    assert having(tables, prefix, 5) == EVERYBODY


def test_one_that_is_longer_than_the_roa_allows_is_dropped_though_it_is_the_owners(tables):
    assert having(tables, "10.3.128.0/25", 5) == EVERYBODY - VALIDATE


def test_without_the_cache_its_roas_hold_until_they_expire_and_again_once_it_is_back(tables):
    assert having(tables, "10.3.32.0/24", 205) == EVERYBODY - VALIDATE
    assert having(tables, "10.3.48.0/24", GONE_S + EXPIRE_S - REFRESH_S - 1) == EVERYBODY - VALIDATE
    assert having(tables, "10.3.48.0/24", GONE_S + EXPIRE_S + RETRY_S) == EVERYBODY
    assert having(tables, "10.3.48.0/24", BACK_S - 1) == EVERYBODY
    assert having(tables, "10.3.48.0/24", BACK_S + RETRY_S + 1) == EVERYBODY - VALIDATE


def test_the_cache_is_asked_over_the_emulated_network_by_rtr(tables):
    """A reset query and what answers it (RFC 8210, section 8.1); home is two networks away."""
    rows = tables.sql(
        "select distinct link from packets where (sport = 323 or dport = 323) and tcp_len > 0 and t_ns < 0"
    )
    assert {link for (link,) in rows} >= {"validator--tier.a", "tier.a--tier.b", "home.a--lax.a"}
