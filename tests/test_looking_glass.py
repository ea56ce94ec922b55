"""What a router knew and where a packet would have gone, at any moment, from the tables of a run."""

import dataclasses
import json

import made
import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.job import Interface, Job, Link, Node, Shape

S, MS = made.S, 10**6
PREFIX = "10.2.0.0/16"


def network() -> Job:
    """A client on r1; r1 and r2 on a LAN with rs, and over r3; a server on r2."""
    wires = {
        "c--r1": ("c", "10.1.0.1/31", "r1", "10.1.0.0/31", 8),
        "r1--ix": ("r1", "10.9.0.1/24", "ix", "", 1),
        "r2--ix": ("r2", "10.9.0.2/24", "ix", "", 2),
        "rs--ix": ("rs", "10.9.0.9/24", "ix", "", 0),
        "r1--r3": ("r1", "10.3.0.0/31", "r3", "10.3.0.1/31", 5),
        "r3--r2": ("r3", "10.3.0.2/31", "r2", "10.3.0.3/31", 7),
        "s--r2": ("s", "10.2.0.1/31", "r2", "10.2.0.0/31", 1),
    }
    ports: dict[str, list[Interface]] = {}
    links = []
    for number, (name, (a, own, b, other, delay_ms)) in enumerate(wires.items()):
        shape = Shape(delay_ns=delay_ms * MS)
        for side, (node, address, peer) in enumerate(((a, own, b), (b, other, a))):
            there = ports.setdefault(node, [])
            there.append(
                Interface(
                    name=f"eth{len(there)}", link=name, mac=f"02:00:00:00:{number:02x}:{side:02x}",
                    address=address, address6=address and f"2001:db8:{number}::{side + 1}/64", peer=peer,
                )
            )  # fmt: skip
        links.append(
            Link(name=name, a=a, a_interface=ports[a][-1].name, b=b, b_interface=ports[b][-1].name,
                 a_to_b=shape, b_to_a=shape)
        )  # fmt: skip
    nodes = tuple(
        Node(
            name=name, role="router", address=own[0].address.partition("/")[0], bridge=name == "ix",
            address6=own[0].address6.partition("/")[0], interfaces=tuple(own),
        )
        for name, own in ports.items()
    )  # fmt: skip
    return dataclasses.replace(made.job(), nodes=nodes, links=tuple(links), faults=(), sessions=())


def route(t_s, node, prefix, via, link, change="added", kind="unicast"):
    return {
        "t_ns": t_s * S, "node": node, "prefix": prefix, "change": change, "kind": kind,
        "via": [via] if link else [], "link": [link] if link else [], "protocol": "bird", "metric": 0,
    }  # fmt: skip


def heard(t_s, peer, kind, flow, as_path=None, next_hop=None, node="r1", **given):
    return {
        "t_ns": t_s * S, "node": node, "peer": peer, "kind": kind, "prefix": PREFIX,
        "as_path": as_path, "next_hop": next_hop, "flow_id": flow, "communities": [], **given,
    }  # fmt: skip


STRUCK = [
    {"t_ns": 25 * S, "fault": 1, "kind": "link-impair", "target": "r3--r1", "phase": "began", "detail": ""},
    {"t_ns": 28 * S, "fault": 1, "kind": "link-impair", "target": "r3--r1", "phase": "ended", "detail": ""},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Until 10 s by the exchange, then by r3; from 20 s r3 sends it back; from 30 s r1 drops it."""
    folder = tmp_path_factory.mktemp("run")
    routes = [
        route(-5, "c", "0.0.0.0/0", "10.1.0.0", "c--r1", "present"),
        route(-5, "c", "::/0", "fe80::ff:fe00:1", "c--r1", "present"),
        route(-5, "r1", "2001:db8:6::/64", "fe80::ff:fe00:401", "r1--r3", "present"),
        route(-5, "r3", "2001:db8:6::/64", "2001:db8:5::2", "r3--r2", "present"),
        route(-5, "r2", "2001:db8:6::/64", "", "s--r2", "present"),
        route(-5, "r2", "10.2.0.0/31", "", "s--r2", "present"),
        route(-5, "r1", "10.9.0.0/24", "", "r1--ix", "present"),
        route(-5, "r1", "10.3.0.0/31", "", "r1--r3", "present"),
        route(-5, "r1", PREFIX, "10.9.0.2", "r1--ix"),
        route(-5, "r3", PREFIX, "10.3.0.3", "r3--r2"),
        route(10, "r1", "10.9.0.0/24", "", "r1--ix", "removed"),
        route(10, "r1", PREFIX, "10.3.0.1", "r1--r3", "changed"),
        route(20, "r3", PREFIX, "10.3.0.0", "r1--r3", "changed"),
        route(30, "r1", PREFIX, "", "", "changed", "blackhole"),
        route(40, "r1", PREFIX, "", "", "removed", "blackhole"),
    ]
    bgp = [
        heard(-6, "rs", "announce", 1, "65002", "10.9.0.2", communities=["64520:1"], med=5, origin="igp"),
        heard(-5, "r3", "announce", 2, "65003 65002", "10.3.0.1"),
        heard(-4, "r2", "announce", 3, "65002", "10.9.0.2"),
        heard(12, "r2", "withdraw", 3),
        heard(15, "r1", "closed", 1, node="rs"),
        heard(35, "r3", "closed", 2),
    ]
    bgp.sort(key=lambda row: row["t_ns"])
    made.run(folder, network(), routes=routes, bgp=bgp, events=STRUCK)
    (folder / "guest.json").write_text(json.dumps({"t0_unix_ns": 0, "end_unix_ns": 50 * S, "finished": True}))
    return folder


def told(*arguments, code=0):
    found = CliRunner().invoke(app, [*map(str, arguments), "-f", "json"])
    assert found.exit_code == code, found.output
    return json.loads(found.stdout)


def seen(run, at, what=PREFIX):
    found = told("looking-glass", run, "r1", what, "--at", at)
    via = found["route"] and (found["route"]["via"] or found["route"]["kind"])
    return via, [(path["peer"], path["in_force"], path["reachable"]) for path in found["paths"]]


def test_of_two_that_lead_the_same_way_one_is_in_force(run):
    assert seen(run, "0s") == (["10.9.0.2"], [("r2", True, True), ("rs", False, True), ("r3", False, True)])


def test_an_announcement_lasts_until_it_is_withdrawn_or_its_session_ends_at_either_end(run):
    assert seen(run, "11s") == (
        ["10.3.0.1"],
        [("r3", True, True), ("r2", False, False), ("rs", False, False)],
    )
    assert [peer for peer, *_ in seen(run, "13s")[1]] == ["r3", "rs"]
    assert [peer for peer, *_ in seen(run, "16s")[1]] == ["r3"]
    assert seen(run, "31s") == ("blackhole", [("r3", False, True)])
    assert seen(run, "45s") == (None, [])


def test_an_address_stands_for_the_longest_prefix_that_it_is_in(run):
    assert told("looking-glass", run, "r1", "10.2.7.7", "--at", "0s")["prefix"] == PREFIX


def test_it_is_shown_to_people(run):
    shown = CliRunner().invoke(app, ["looking-glass", str(run), "r1", PREFIX, "--at", "11s"]).stdout
    assert "r1 at 11.000 s: 10.2.0.0/16 10.3.0.1 on r1--r3 (set by bird at 10.000 s)" in shown
    assert "next hop not reachable" in shown
    assert "64520:1" in shown


def gone(run, at, to="s", *options, code=0):
    found = told("traceroute", run, "c", to, "--at", at, *options, code=code)
    return [(hop["node"], hop["address"], hop["delay_ns"] // MS) for hop in found["hops"]], found["end"]


def test_a_packet_crosses_a_lan_in_one_hop_and_two_delays(run):
    hops, end = gone(run, "0s")
    assert hops == [
        ("c", "10.1.0.1", 0),
        ("r1", "10.1.0.0", 8),
        ("r2", "10.9.0.2", 11),
        ("s", "10.2.0.1", 12),
    ]
    assert end == "s has 10.2.0.1"


def test_a_packet_goes_as_the_tables_were_then(run):
    hops, _ = gone(run, "11s")
    assert [hop[0] for hop in hops] == ["c", "r1", "r3", "r2", "s"]
    assert hops[-1][2] == 8 + 5 + 7 + 1


def test_link_local_gateways_are_found(run):
    hops, end = gone(run, "0s", "s", "-6")
    assert [hop[0] for hop in hops] == ["c", "r1", "r3", "r2", "s"]
    assert end == "s has 2001:db8:6::1"


def test_where_a_packet_ends_and_why(run):
    assert gone(run, "21s", code=1)[1] == "a loop: r3 sends it back to r1"
    assert gone(run, "31s", code=1)[1] == "r1 drops it: its route 10.2.0.0/16 is a blackhole"
    assert gone(run, "45s", code=1)[1] == "r1 has no route to 10.2.0.1"
    assert gone(run, "0s", "10.9.0.77", code=1)[1] == "nobody on r1--ix has 10.9.0.77"


def test_faults_in_force_on_the_way_are_told(run):
    found = told("traceroute", run, "c", "s", "--at", "26s", code=1)
    assert [hop["faults"] for hop in found["hops"]] == [[], ["link-impair"], ["link-impair"]]
    assert "link-impair" in CliRunner().invoke(app, ["traceroute", str(run), "c", "s", "--at", "26s"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("looking-glass", "RUN", "ix", PREFIX), "has no forwarding table of ix; there are c, r1, r2, r3"),
        (("looking-glass", "RUN", "r1", "10.2.0.1/16"), "has host bits set; write a prefix as"),
        (("looking-glass", "RUN", "r1", PREFIX, "--at", "61"), "--at:"),
        (("traceroute", "RUN", "c", "nobody"), "nobody is neither a node nor an address"),
        (("traceroute", "RUN", "ix", "s"), "ix has no forwarding table; 'testbed plan' lists the nodes"),
    ],
)
def test_what_is_not_there_is_refused_by_name(run, arguments, message):
    found = CliRunner().invoke(app, [str(run) if each == "RUN" else each for each in arguments])
    assert found.exit_code == 2
    assert message in found.stderr.replace("\n", " ")
