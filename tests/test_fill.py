"""Fill: the arithmetic of windows and manifests, who may fetch from where, and a cold cluster on packets."""

from pathlib import Path

import pytest
from test_steered import run

from testbed import model
from testbed.measure.tables import Tables
from testbed.plan import plan
from testbed.services.control import ControlPlane
from testbed.services.fill import Window, following, room_bytes

HERE = Path(__file__).parent
S = 10**9
HOUR = 3600 * S


def test_a_window_carries_what_open_connects_documents_say():
    assert room_bytes(1_200_000_000, 12 * HOUR) == 6_480_000_000_000
    assert room_bytes(400_000_000, 12 * HOUR) == 2_160_000_000_000


def test_a_nightly_window_comes_again_and_a_scripted_one_does_not():
    nightly, once = Window(2 * HOUR, 12 * HOUR, 24 * HOUR), Window(3 * HOUR, HOUR)
    assert nightly.current(0) == (2 * HOUR, 14 * HOUR)
    assert nightly.current(14 * HOUR - 1) == (2 * HOUR, 14 * HOUR)
    assert nightly.current(14 * HOUR) == (26 * HOUR, 38 * HOUR)
    assert nightly.current(30 * HOUR) == (26 * HOUR, 38 * HOUR)
    assert once.current(4 * HOUR) is None
    assert following([once, nightly], 0) == (2 * HOUR, 14 * HOUR)
    assert following([once], 5 * HOUR) is None


def steering_of(**sets):
    loaded = model.load_scenario(
        HERE / "cdn" / "filled.yaml", [f"{key}={value}" for key, value in sets.items()]
    )
    job = plan(loaded)
    (service,) = job.node("steering").processes
    return job, service.config


def test_a_manifest_is_what_is_popular_and_fits():
    _, config = steering_of()
    assert config["fill"]["manifests"] == {"cdn.pop": ["film", "rare"], "north.core": ["film", "rare", "new"]}
    # film is 1.5 MB and the others 0.75 MB each
    _, config = steering_of(**{"fill.capacity": "2999kB"})
    assert config["fill"]["manifests"]["north.core"] == ["film", "rare"]
    _, config = steering_of(**{"fill.popularity": "[new]", "fill.capacity": "2250kB"})
    assert config["fill"]["manifests"]["north.core"] == ["new", "film"]


def test_what_an_oca_holds_at_the_start_is_what_the_scenario_says():
    job, _ = steering_of()
    assert {oca: job.node(oca).titles for oca in ("oca-a", "oca-x", "origin")} == {
        "oca-a": (), "oca-x": ("film", "rare"), "origin": ("film", "rare", "new"),
    }  # fmt: skip
    assert {process.name for process in job.node("oca-a").processes} == {"nginx", "bird", "agent", "fill"}


def plane():
    """A cluster of two that lack the film, a third OCA that has it, and all know ways to each other."""
    _, config = steering_of()
    made = ControlPlane(config)
    for number, (oca, titles) in enumerate({"oca-a": [], "oca-b": [], "oca-x": ["film"]}.items(), start=1):
        routes = [{"prefix": "10.0.0.0/8", "as_path": [64501], "med": None}]
        document = {
            "oca": oca,
            "healthy": True,
            "titles": titles,
            "routes": routes,
            "address": f"10.1.32.{number}",
        }
        made.report(document, 0)
    return made


def kinds(made, oca, waited_s, title="film"):
    return [each["kind"] for each in made.sources(oca, title, waited_s * S, S)]


def test_masters_leave_the_cluster_at_once_and_others_one_wait_later():
    made = plane()
    assert (kinds(made, "oca-a", 0), kinds(made, "oca-b", 0)) == (["tier"], [])
    assert (kinds(made, "oca-a", 9), kinds(made, "oca-b", 9)) == (["tier", "origin"], ["tier"])
    assert kinds(made, "oca-b", 18) == ["tier", "origin"]


def test_a_peer_that_has_it_comes_before_a_tier():
    made = plane()
    document = {"oca": "oca-a", "healthy": True, "titles": ["film"], "address": "10.1.32.1"}
    made.report(document | {"routes": [{"prefix": "10.1.0.0/16", "as_path": [64501]}]}, 0)
    found = made.sources("oca-b", "film", 20 * S, S)
    assert [(each["oca"], each["kind"]) for each in found] == [
        ("oca-a", "peer"), ("oca-x", "tier"), ("origin", "origin"),
    ]  # fmt: skip


def test_who_has_not_heard_the_others_subnet_is_no_tier_for_it():
    """A partner fault: sites that do not hear each other's OCA subnets cannot fill from each other."""
    made = plane()
    document = {"oca": "oca-x", "healthy": True, "titles": ["film"], "address": "10.1.32.3"}
    made.report(document | {"routes": [{"prefix": "10.1.64.0/21", "as_path": [64501]}]}, 0)
    assert kinds(made, "oca-a", 0) == []
    assert kinds(made, "oca-a", 9) == ["origin"]


@pytest.mark.guest
def test_a_cold_cluster_fills_from_the_exchange_then_from_its_own_then_from_the_origin(tmp_path):
    tables = Tables(run("filled", tmp_path))
    assert tables.scalar("select count(*) from fill where error != ''") == 0
    kinds = tables.sql(
        "select oca, title, any_value(kind), count(*), sum(bytes)::bigint from fill group by oca, title"
    )
    assert sorted(kinds) == [
        ("oca-a", "film", "tier", 2, 1_500_000), ("oca-a", "new", "origin", 1, 750_000),
        ("oca-a", "rare", "tier", 1, 750_000), ("oca-b", "film", "peer", 2, 1_500_000),
        ("oca-b", "new", "peer", 1, 750_000), ("oca-b", "rare", "peer", 1, 750_000),
    ]  # fmt: skip
    # 2 Mbit/s, to 0.1 %
    slow, fast = tables.sql("select min(bytes * 8e9 / total_ns), max(bytes * 8e9 / total_ns) from fill")[0]
    assert 1.98e6 < slow <= fast < 2.002e6
    # the bytes are on the wire: each file once, and at most 2 % for TLS and HTTP
    wire = tables.scalar(
        """select sum(unique_down)::bigint from flows where client = 'oca-a' and server = 'oca-x'
           and node = 'oca-a' and dport = 443"""
    )
    assert 2_250_000 < wire < 2_250_000 * 1.02
    # there is no IPv4 anywhere, and what reached its end is not lost
    assert tables.sql("select distinct src like '%:%' from packets where src is not null") == [(True,)]
    assert tables.scalar("select count(*) from hops where lost") == 0
    # whoever asked before it was there was sent on, and the miss has its name
    assert tables.sql("select distinct miss from steering where t_ns < 8e9 and place = 1") == [
        ("content miss",)
    ]
    first = tables.sql("select start_ns, ocas[1] from sessions order by start_ns")
    assert [oca for start_ns, oca in first if start_ns < 8 * S] == ["oca-x", "oca-x"]
    assert {oca for start_ns, oca in first if start_ns > 12 * S} <= {"oca-a", "oca-b"}
    assert tables.scalar("select count(*) from steering where t_ns > 30e9 and miss != ''") == 0
