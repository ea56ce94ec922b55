from __future__ import annotations

import json
import threading

import pytest
from servers import identity

from testbed.services.control import ControlPlane
from testbed.services.http import Client
from testbed.services.steering import Server, Steering

SECOND = 10**9


def config(**change):
    return {
        "addresses": ["127.0.0.1"],
        "port": 0,
        "zone": "cdn.example",
        "sites": {
            "oca-n1": {"embedded": True},
            "oca-s1": {"embedded": True},
            "oca-ix1": {"embedded": False, "via": {"64501": "exchange"}},
        },
        "policy": {"source": "testbed.steering.open_connect:OpenConnect"},
        "origin": {"oca": "origin", "url": "https://origin.cdn.example"},
        "urls": 3,
        "ttl_s": 30,
        "stale_ns": 15 * SECOND,
    } | change


def report(oca, *prefixes, healthy=True, titles=("film",)):
    routes = [{"prefix": prefix, "as_path": [64501], "med": None} for prefix in prefixes]
    return {"oca": oca, "healthy": healthy, "titles": list(titles), "routes": routes, "address": "10.0.0.1"}


def steering(**change):
    made = ControlPlane(config(**change))
    made.report(report("oca-n1", "10.1.0.0/16"), 100 * SECOND)
    made.report(report("oca-s1", "10.2.0.0/16"), 100 * SECOND)
    made.report(report("oca-ix1", "10.1.0.0/16", "10.2.0.0/16"), 100 * SECOND)
    return made


def ocas(made, client="10.1.4.9", title="film", at_s=101):
    decision = made.steer(title, client, at_s * SECOND)
    assert decision.status == 200
    return [entry["oca"] for entry in decision.answer["urls"]]


def test_the_embedded_oca_first_then_the_exchange_then_the_origin():
    made = steering()
    assert ocas(made) == ["oca-n1", "oca-ix1", "origin"]
    assert ocas(made, "10.2.0.1") == ["oca-s1", "oca-ix1", "origin"]
    assert ocas(made, "192.0.2.1") == ["origin"]


def test_an_answer_has_urls_a_lifetime_and_reasons():
    answer = steering().steer("film", "10.1.4.9", 101 * SECOND).answer
    assert answer["urls"][0] == {"oca": "oca-n1", "url": "https://oca-n1.cdn.example/film/"}
    assert answer["urls"][-1] == {"oca": "origin", "url": "https://origin.cdn.example/film/"}
    assert answer["ttl_s"] == 30
    assert answer["decision"] == [
        "oca-n1: prefix 10.1.0.0/16, site embedded, path 64501, med 0",
        "oca-ix1: prefix 10.1.0.0/16, site exchange, path 64501, med 0",
        "oca-s1: no, no route to 10.1.4.9",
        "origin: the origin",
    ]


def test_the_origin_stays_last_in_a_short_list():
    assert ocas(steering(urls=2)) == ["oca-n1", "origin"]
    assert ocas(steering(urls=1)) == ["origin"]


def test_an_oca_that_fell_silent_or_ill_gets_nobody():
    made = steering()
    made.report(report("oca-n1", "10.1.0.0/16", healthy=False), 101 * SECOND)
    assert ocas(made, at_s=102) == ["oca-ix1", "origin"]
    made.report(report("oca-n1", "10.1.0.0/16"), 112 * SECOND)
    assert ocas(made, at_s=114) == ["oca-n1", "oca-ix1", "origin"]
    assert ocas(made, at_s=116) == ["oca-n1", "origin"]
    assert ocas(made, at_s=200) == ["origin"]


def test_unknown_titles_and_empty_hands():
    assert steering().steer("other", "10.1.4.9", 0).status == 404
    assert ControlPlane(config()).steer("film", "10.1.4.9", 0).status == 503
    holds = {"oca": "origin", "url": "https://origin.cdn.example/", "titles": ["film"]}
    made = ControlPlane(config(origin=holds))
    assert ocas(made) == ["origin"]
    assert made.steer("other", "10.1.4.9", 0).status == 404
    made.report(report("oca-s1", "10.2.0.0/16", titles=["other"]), 0)
    decision = made.steer("other", "10.1.4.9", SECOND)
    assert (decision.status, decision.answer["urls"]) == (200, [])
    assert decision.answer["error"] == "nobody can serve other to 10.1.4.9"


def test_a_stranger_may_not_report():
    with pytest.raises(ValueError, match="oca-evil is not one of oca-ix1, oca-n1, oca-s1"):
        steering().report(report("oca-evil", "0.0.0.0/0"), 0)


@pytest.fixture
def served(tmp_path):
    who = identity(tmp_path, "steering.test")
    settings = config(certificate=who.certificate, key=who.key, drained=str(tmp_path / "drained.json"))
    with Server(settings, "127.0.0.1", Steering(settings)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with Client(who.certificate, 5 * SECOND) as client:
            yield client, f"https://steering.test:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_it_is_served_over_one_kept_connection(served, capfd):
    client, base = served
    posted = client.post_json(f"{base}/v1/report", "127.0.0.1", report("oca-n1", "127.0.0.0/8"))
    assert posted.status == 200
    answer = client.get(f"{base}/v1/steer?title=film", "127.0.0.1", keep=True)
    assert (answer.status, answer.connect_ns) == (200, 0)
    assert [entry["oca"] for entry in json.loads(answer.body)["urls"]] == ["oca-n1", "origin"]
    *_, line = map(json.loads, capfd.readouterr().out.splitlines())
    assert (line["client"], line["title"], line["status"]) == ("127.0.0.1", "film", 200)
    assert line["decision"] == json.loads(answer.body)["decision"]


@pytest.mark.parametrize("path", ["/", "/v1/steer", "/v1/steer?title=", "/v1/report?title=film"])
def test_other_paths_are_not_found(served, path):
    client, base = served
    answer = client.get(base + path, "127.0.0.1", keep=True)
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "ask for /v1/steer?title=NAME"})


def test_a_broken_report_is_a_bad_request(served):
    client, base = served
    answer = client.post_json(f"{base}/v1/report", "127.0.0.1", {"oca": "oca-n1"})
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "the report has no 'healthy'"})
    assert client.post_json(f"{base}/elsewhere", "127.0.0.1", {}).status == 404


def test_an_oca_that_drains_gets_nobody_new_and_its_miss_is_another(served, tmp_path):
    client, base = served
    client.post_json(f"{base}/v1/report", "127.0.0.1", report("oca-n1", "127.0.0.0/8"))

    def asked():
        return json.loads(client.get(f"{base}/v1/steer?title=film", "127.0.0.1", keep=True).body)

    assert (asked()["urls"][0]["oca"], asked()["miss"]) == ("oca-n1", "")
    drain = {"oca": "oca-n1", "draining": True}
    assert client.post_json(f"{base}/v1/drain", "127.0.0.1", drain).status == 200
    assert (asked()["urls"][0]["oca"], asked()["miss"]) == ("origin", "other miss")
    settings = config(drained=str(tmp_path / "drained.json"))
    again = Steering(settings)  # it outlives the process; what was reported does not
    again.report(report("oca-n1", "127.0.0.0/8"), 0)
    assert again.steer("film", "127.0.0.1", 0).answer["urls"][0]["oca"] == "origin"
    client.post_json(f"{base}/v1/drain", "127.0.0.1", drain | {"draining": False})
    assert asked()["urls"][0]["oca"] == "oca-n1"
    refused = client.post_json(f"{base}/v1/drain", "127.0.0.1", {"oca": "oca-x"})
    assert (refused.status, b"draining" in refused.body) == (400, True)


def test_it_answers_clients_of_either_family(tmp_path):
    who = identity(tmp_path, "steering.test")
    settings = config(certificate=who.certificate, key=who.key)
    with Server(settings, "::1", Steering(settings)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        base = f"https://steering.test:{server.server_address[1]}"
        with Client(who.certificate, 5 * SECOND) as client:
            client.post_json(f"{base}/v1/report", "::1", report("oca-n1", "::/0", "0.0.0.0/0"))
            answer = json.loads(client.get(f"{base}/v1/steer?title=film", "::1", keep=True).body)
        server.shutdown()
        thread.join()
    assert answer["decision"][0].startswith("oca-n1: prefix ::/0, site embedded")


def test_the_log_has_a_report_once_and_then_only_its_load(capfd):
    made = Steering(config())
    for at_s, bps in ((1, 10), (2, 20)):
        made.report(report("oca-n1", "10.1.0.0/16") | {"load": {"connections": 1, "bps": bps}}, at_s * SECOND)
    made.report(report("oca-n1", "10.1.0.0/16", healthy=False), 3 * SECOND)
    started, first, second, third = map(json.loads, capfd.readouterr().out.splitlines())
    assert started["started"]
    assert first["report"]["load"]["bps"] == 10
    assert second == {"unix_ns": 2 * SECOND, "again": "oca-n1", "load": {"connections": 1, "bps": 20}}
    assert third["report"]["healthy"] is False
