from __future__ import annotations

import os
import socket
import time

import pytest
from servers import BIRD, Oca, bird_of, https, identity

from testbed.daemons import birdc as bird
from testbed.services import agent

# Static routes with BGP attributes: as if learned, without a neighbour.
CONFIG = """
router id 10.0.0.1;
log stderr all;
protocol device {}
protocol static learned {
  ipv4;
  route 10.1.0.0/16 blackhole { bgp_path.prepend(64501); };
  route 10.1.4.0/24 blackhole { bgp_path.prepend(64502); bgp_path.prepend(64501); bgp_med = 50; };
  route 192.0.2.0/24 blackhole;
}
protocol static learned6 { ipv6; route 2001:db8::/32 blackhole { bgp_path.prepend(64501); }; }
"""

ROUTES = [
    {"prefix": "10.1.0.0/16", "as_path": [64501], "med": None},
    {"prefix": "10.1.4.0/24", "as_path": [64501, 64502], "med": 50},
    {"prefix": "2001:db8::/32", "as_path": [64501], "med": None},
]


@pytest.fixture
def control(tmp_path):
    """The control socket of a BIRD of our own."""
    if BIRD is None:
        pytest.skip("BIRD is not installed")
    with bird_of(tmp_path, CONFIG) as path:
        yield path


def by_prefix(routes):
    return sorted(routes, key=lambda route: route["prefix"])


def test_routes_come_from_birds_control_socket(control):
    assert by_prefix(route.document() for route in bird.learned_routes(control)) == ROUTES


def test_a_refused_command_is_an_error(control):
    with pytest.raises(bird.BirdError, match="show nonsense: syntax error"):
        bird.ask(control, "show nonsense")


def test_attributes_belong_to_their_route():
    lines = [
        "Table master4:",
        "10.0.0.0/8           unicast [isp 12:00:00.000] * (100) [AS64501i]",
        "\tvia 10.9.0.0 on eth0",
        "\tType: BGP univ",
        "\tBGP.as_path: 64501 {64510 64505} 64499",
        "192.0.2.0/24         blackhole [static1 12:00:00.000] * (200)",
        "\tType: static univ",
        "10.9.0.0/31          unicast [ibgp 12:00:00.000 from 10.9.0.1] * (100/10) [i]",
        "\tBGP.as_path: ",
        "\tBGP.med: 7",
    ]
    assert bird.parse_routes(lines) == [
        bird.LearnedRoute("10.0.0.0/8", [64501, 64505, 64499]),
        bird.LearnedRoute("10.9.0.0/31", [], 7),
    ]


def test_an_oca_without_bird_or_server_is_reported_as_such(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = {
            "oca": "oca-n1",
            "address": "10.0.0.1",
            "titles": ["film"],
            "bird_socket": str(tmp_path / "bird.ctl"),
            "health": {"address": "127.0.0.1", "port": port},
        }
        load = agent.Load(port)
        viewer = socket.create_connection(("127.0.0.1", port))
        well = agent.observe(config, load)
        viewer.close()
    assert well.pop("load")["connections"] >= 1
    assert well == {"oca": "oca-n1", "address": "10.0.0.1", "healthy": True, "titles": ["film"], "routes": []}
    assert "no routes: " in capsys.readouterr().out
    assert agent.observe(config, load)["healthy"] is False


class FixedStub:
    def resolve(self, host, until_ns=None):
        assert host == "steering.test"
        return "127.0.0.1", 0


def test_a_report_reaches_steering(tmp_path, control):
    who = identity(tmp_path, "steering.test")
    with https(who, Oca()) as steering, agent.Client(who.certificate, 10**9) as client:
        config = {
            "oca": "oca-n1",
            "address": "10.0.0.1",
            "titles": ["film"],
            "bird_socket": control,
            "health": {"address": "127.0.0.1", "port": steering.port},
            "steering_host": f"steering.test:{steering.port}",
        }
        assert agent.report(config, FixedStub(), client, agent.Load(1)) == ""
        (document,) = steering.posted
    assert by_prefix(document.pop("routes")) == ROUTES
    assert document.pop("load").keys() == {"connections", "bps"}
    assert document == {"oca": "oca-n1", "address": "10.0.0.1", "healthy": True, "titles": ["film"]}


def test_an_unreachable_control_plane_is_no_reason_to_die(tmp_path, monkeypatch, capsys):
    """Three rounds against a resolver that is not there, at the interval, each said in the log."""
    rounds = []

    class EnoughError(Exception):
        pass

    def sleep(seconds):
        rounds.append(seconds)
        if len(rounds) == 3:
            raise EnoughError

    monkeypatch.setattr(time, "sleep", sleep)
    config = {
        "oca": "oca-n1",
        "address": "10.0.0.1",
        "titles": [],
        "bird_socket": str(tmp_path / "bird.ctl"),
        "health": {"address": "127.0.0.1", "port": 1},
        "family": 4,
        "resolver": "127.255.255.254",
        "ca": os.devnull,
        "steering_host": "steering.test",
        "report_ns": 10**10,
        "grace_ns": 10**12,
        "alone": str(tmp_path / "alone"),
        "seed": 1,
    }
    with pytest.raises(EnoughError):
        agent.run(config)
    assert all(9 < seconds <= 30 for seconds in rounds)
    assert capsys.readouterr().out.count("report failed: dns unreachable: steering.test") == 3


def test_a_title_whose_files_are_gone_is_not_told_of(tmp_path):
    (tmp_path / "film").mkdir()
    config = {"titles": ["film", "clip"], "content": str(tmp_path)}
    assert agent.on_the_box(config) == ["film"]


def test_without_a_word_for_the_grace_it_does_not_serve_until_it_is_heard_again(tmp_path):
    alone = tmp_path / "alone"
    grace = agent.Grace(alone, 20_000_000)
    until = time.monotonic() + 10
    while not alone.exists():
        assert time.monotonic() < until
        time.sleep(0.001)
    grace._grace_ns = 10**12
    grace.heard()
    assert not alone.exists()
