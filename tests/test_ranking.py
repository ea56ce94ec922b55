from __future__ import annotations

import math
from ipaddress import ip_address, ip_network

import pytest

from testbed.registry import kinds
from testbed.services.ranking import Limits, Report, miss, rank
from testbed.steering import Query, Route, Site, distance_km
from testbed.steering.nearest import Nearest
from testbed.steering.open_connect import OpenConnect
from testbed.steering.spread import Spread

SITES = {name: Site() for name in ("a", "b", "c")} | {"x": Site(embedded=False, via={1: "exchange"})}


def report(oca, *routes, titles=("film",), healthy=True, received_ns=100, **load):
    return Report(
        oca=oca,
        received_ns=received_ns,
        healthy=healthy,
        titles=frozenset(titles),
        routes=tuple(Route(ip_network(prefix), tuple(path), med) for prefix, path, med in routes),
        **load,
    )


def choices(
    *reports, client="10.1.4.9", title="film", now_ns=110, sites=SITES, policy=None, shed=1.0, location=None,
    draining=(),
):  # fmt: skip
    return rank(
        reports, sites, policy or OpenConnect(), Query(title, ip_address(client), location),
        Limits(stale_ns=50, shed=shed), now_ns=now_ns, draining=frozenset(draining),
    )  # fmt: skip


def ranked(*reports, **asked):
    return [choice.oca for choice in choices(*reports, **asked) if choice.rank]


def test_longest_match_wins_over_site_path_and_med():
    wide = report("a", ("10.1.0.0/16", [1], 0))
    narrow = report("x", ("10.1.4.0/24", [1, 2, 3], 500))
    assert ranked(wide, narrow) == ["x", "a"]


def test_an_embedded_site_wins_over_a_shorter_path():
    assert ranked(report("x", ("10.1.0.0/16", [1], 0)), report("b", ("10.1.0.0/16", [1, 2], 9))) == ["b", "x"]


def test_a_shorter_path_wins_over_med():
    assert ranked(report("a", ("10.1.0.0/16", [1, 2], 0)), report("b", ("10.1.0.0/16", [1], 9))) == ["b", "a"]


def test_the_lowest_med_wins_and_a_missing_one_is_lowest():
    document = {"healthy": True, "titles": ["film"]}
    routes = {"a": 200, "b": 100, "c": None}
    reports = [
        Report.parse(
            document | {"oca": oca, "routes": [{"prefix": "10.1.0.0/16", "as_path": [1], "med": med}]}, 100
        )
        for oca, med in routes.items()
    ]
    assert ranked(*reports) == ["c", "b", "a"]


def test_an_oca_serves_by_its_own_best_route():
    two = report("a", ("10.1.0.0/16", [1], 0), ("10.1.4.0/24", [1, 2, 3], 0))
    one = report("b", ("10.1.4.0/24", [1, 2], 0))
    assert ranked(two, one) == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (report("a", ("10.2.0.0/16", [1], 0)), "no route to 10.1.4.9"),
        (report("a", ("2001:db8::/32", [1], 0)), "no route to 10.1.4.9"),
        (report("a", ("10.1.0.0/16", [1], 0), healthy=False), "unhealthy"),
        (report("a", ("10.1.0.0/16", [1], 0), titles=("other",)), "does not hold film"),
        (report("a", ("10.1.0.0/16", [1], 0), received_ns=60), "last report is 5e-08 s old"),
        (report("z", ("10.1.0.0/16", [1], 0)), "not one of ours"),
    ],
)
def test_who_may_not_serve_is_left_out_and_the_reason_given(given, why):
    (choice,) = choices(given)
    assert (choice.rank, choice.why) == (None, why)


def test_equal_ocas_share_the_clients():
    equal = [report(oca, ("10.0.0.0/8", [1], 0)) for oca in "ab"]
    clients = [f"10.1.{index // 200}.{index % 200}" for index in range(400)]
    share = sum(ranked(*equal, client=client)[0] == "a" for client in clients) / 400
    assert abs(share - 0.5) <= 1.96 * math.sqrt(0.25 / 400)


def test_another_oca_takes_its_share_and_moves_nothing_else():
    titles = [f"film-{index}" for index in range(900)]
    three = [report(oca, ("10.0.0.0/8", [1], 0), titles=titles) for oca in "abc"]
    before = {title: ranked(*three[:2], title=title)[0] for title in titles}
    after = {title: ranked(*three, title=title)[0] for title in titles}
    moved = [title for title in titles if before[title] != after[title]]
    assert {after[title] for title in moved} == {"c"}
    assert abs(len(moved) / 900 - 1 / 3) <= 3 * math.sqrt(1 / 3 * 2 / 3 / 900)


def test_weight_is_the_share_among_equals():
    sites = {"a": Site(weight=3.0), "b": Site(weight=1.0)}
    equal = [report(oca, ("10.0.0.0/8", [1], 0)) for oca in "ab"]
    clients = [f"10.1.{index // 200}.{index % 200}" for index in range(800)]
    share = sum(ranked(*equal, client=client, sites=sites)[0] == "a" for client in clients) / 800
    assert abs(share - 0.75) <= 3 * math.sqrt(0.75 * 0.25 / 800)


def test_a_hash_of_the_title_alone_sends_all_its_clients_to_one():
    equal = [report(oca, ("10.0.0.0/8", [1], 0)) for oca in "abc"]
    policy = OpenConnect(hash_by=("title",))
    first = {ranked(*equal, client=f"10.1.0.{number}", policy=policy)[0] for number in range(50)}
    assert len(first) == 1


def test_sites_come_in_open_connects_order():
    via = {1: "pni", 2: "exchange", 3: "transit"}
    sites = {name: Site(embedded=False, via=via) for name in "pet"} | {"n": Site()}
    first = {"p": 1, "e": 2, "t": 3, "n": 9}
    reports = [report(oca, ("10.1.0.0/16", [7, asn], 0)) for oca, asn in first.items()]
    found = [choice for choice in choices(*reports, sites=sites) if choice.rank]
    assert [choice.oca for choice in found] == ["n", "p", "e", "t"]
    assert [choice.decided_by for choice in found] == ["", "site", "site", "site"]


def test_the_nearest_wins_where_bgp_does_not_decide():
    berlin, paris, rome = (52.5, 13.4), (48.9, 2.4), (41.9, 12.5)
    assert distance_km(berlin, paris) == pytest.approx(878, abs=10)
    sites = {"a": Site(location=paris), "b": Site(location=rome), "c": Site()}
    same = [report(oca, ("10.1.0.0/16", [1], 0)) for oca in "abc"]
    assert ranked(*same, sites=sites, location=berlin) == ["a", "b", "c"]
    far = report("a", ("10.1.0.0/16", [1], 5))
    assert ranked(far, *same[1:], sites=sites, location=berlin) == ["b", "c", "a"]
    assert ranked(far, *same[1:], sites=sites, location=berlin, policy=Nearest()) == ["a", "b", "c"]


def test_another_order_puts_the_site_before_the_prefix():
    wide, narrow = report("a", ("10.1.0.0/16", [1], 0)), report("x", ("10.1.4.0/24", [1], 0))
    assert ranked(wide, narrow) == ["x", "a"]
    assert ranked(wide, narrow, policy=OpenConnect(order=("site", "prefix"))) == ["a", "x"]


def test_every_policy_leaves_no_ties():
    equal = [report(oca, ("10.0.0.0/8", [1], 0)) for oca in "abc"]
    for kind in kinds("steering").values():
        found = choices(*equal, policy=kind())
        assert sorted(choice.rank for choice in found) == [1, 2, 3]
        assert [choice.decided_by for choice in found] == ["", "hash", "hash"]
    assert len({tuple(ranked(*equal, client=f"10.1.0.{n}", policy=Spread())) for n in range(40)}) == 6


def test_a_miss_is_named_after_what_keeps_the_best_from_serving():
    other = report("x", ("10.1.0.0/16", [1], 0))
    route = ("10.1.0.0/16", [1], 0)
    sites = SITES | {"a": Site(capacity_bps=10_000_000, connections=10)}

    def missed(given, **asked):
        found = choices(given, other, sites=sites, **asked)
        return miss(found), next(choice.refusal for choice in found if choice.oca == "a")

    assert missed(report("a", route)) == ("", "")
    assert missed(report("a", route, titles=())) == ("content miss", "does not hold film")
    assert missed(report("a", route, healthy=False)) == ("health miss", "unhealthy")
    assert missed(report("a", route, received_ns=0))[0] == "health miss"
    assert missed(report("a", route), draining=["a"]) == ("other miss", "draining")
    full = missed(report("a", route, bps=9.1e6), shed=0.9)
    assert full == ("health miss", "full: sends 91% of 10 Mbit/s")
    assert missed(report("a", route, connections=9), shed=0.9)[1] == "full: 9 of 10 connections"
    assert missed(report("a", route, connections=8, bps=8.9e6), shed=0.9) == ("", "")
    # whoever would not have been the best makes no miss
    assert miss(choices(report("a", route), report("x", route, titles=()))) == ""


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"oca": "a", "healthy": True, "titles": []}, "the report has no 'routes'"),
        ({"oca": "a", "healthy": True, "titles": [], "routes": [{"prefix": "10.0.0.0/8"}]}, "no 'as_path'"),
        ({"oca": "a", "healthy": True, "titles": 7, "routes": []}, "not as expected"),
        ({"oca": "a", "healthy": True, "titles": [], "routes": [{"prefix": "x", "as_path": []}]}, "'x'"),
        ([], "not as expected"),
    ],
)
def test_what_is_no_report_is_refused(document, wrong):
    with pytest.raises(ValueError, match=wrong):
        Report.parse(document, 0)
