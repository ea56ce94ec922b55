from __future__ import annotations

import math
from ipaddress import ip_network

import pytest

from testbed.services.ranking import Report, Route, Site, rank

SITES = {name: Site("embedded") for name in ("a", "b", "c")} | {"x": Site("exchange")}


def report(oca, *routes, titles=("film",), healthy=True, received_ns=100):
    return Report(
        oca=oca,
        received_ns=received_ns,
        healthy=healthy,
        titles=frozenset(titles),
        routes=tuple(Route(ip_network(prefix), tuple(path), med) for prefix, path, med in routes),
    )


def ranked(*reports, client="10.1.4.9", title="film", now_ns=110, sites=SITES):
    choices = rank(reports, sites, client=client, title=title, now_ns=now_ns, stale_ns=50)
    return [choice.oca for choice in choices if choice.chosen]


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
    (choice,) = rank([given], SITES, client="10.1.4.9", title="film", now_ns=110, stale_ns=50)
    assert (choice.chosen, choice.why) == (False, why)


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
    sites = {"a": Site("embedded", 3.0), "b": Site("embedded", 1.0)}
    equal = [report(oca, ("10.0.0.0/8", [1], 0)) for oca in "ab"]
    clients = [f"10.1.{index // 200}.{index % 200}" for index in range(800)]
    share = sum(ranked(*equal, client=client, sites=sites)[0] == "a" for client in clients) / 800
    assert abs(share - 0.75) <= 3 * math.sqrt(0.75 * 0.25 / 800)


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
