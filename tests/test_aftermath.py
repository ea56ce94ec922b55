"""What came of a fault is told from the tables alone: each kind of step on rows made for it."""

import dataclasses
import json
import struct

import captures
import made
import pytest
from typer.testing import CliRunner

from testbed import aftermath, registry
from testbed.cli import app
from testbed.job import Fault
from testbed.measure.tables import Tables
from testbed.report import aftermath as drawing
from testbed.report import story

S, MS = made.S, 10**6
OCA, OTHER, HOME = "10.0.0.6", "10.0.0.7", "10.0.0.13"
LINK = "oca-n1--north.core"
FIN, RST = 1, 4
ADDRESSES = {"oca-n1": OCA, "oca-x1": OTHER, "north.homes.1": HOME}


def packet(t_s, link=LINK, node="oca-n1", **given):
    row = {
        "t_ns": round(t_s * S), "node": node, "interface": "eth0", "link": link, "direction": "out",
        "src": OCA, "dst": HOME, "proto": "tcp", "sport": 443, "dport": 50_000, "flow_id": 1, "tcp_flags": 16,
        "tcp_len": 100, "tcp_seq": round(t_s * 1000), "retransmission": False,
    }  # fmt: skip
    return row | given


def flow(number=1, link=LINK, start_s=0, end_s=30, **given):
    row = {
        "flow_id": number, "link": link, "client": "north.homes.1", "server": "oca-n1", "proto": "tcp",
        "start_ns": start_s * S, "end_ns": end_s * S,
    }  # fmt: skip
    return row | given


@pytest.fixture
def told(tmp_path):
    """Makes a run of such rows, and tells the steps of one stage as (seconds after, where, what, packets)."""

    def told(stage=None, faults=None, addresses=None, **rows):
        planned, known = made.job(faults=faults or made.job().faults), ADDRESSES | (addresses or {})
        nodes = [
            dataclasses.replace(
                node, address=known.get(node.name, node.address), forwards=node.role == "router"
            )
            for node in planned.nodes
        ]
        given = {"requests": [], "playback": [], "packets": []} | rows
        run = made.run(tmp_path / "run", dataclasses.replace(planned, nodes=tuple(nodes)), **given)
        found = aftermath.explain(Tables(run))
        assert [step.t_ns for step in found[0].steps] == sorted(step.t_ns for step in found[0].steps)
        return [
            ((step.t_ns - each.at_ns) / S, step.where, step.what, step.shown)
            for each in found for step in each.steps if stage in (None, step.stage)
        ]  # fmt: skip

    return told


def struck_link(at_s=10, lasts_s=10, number=1):
    return Fault(
        id=number, kind="link-down", source="testbed.faults.link_down:LinkDown", at_ns=at_s * S,
        lasts_ns=lasts_s * S, target="north.core--oca-n1", parameters={"link": "north.core--oca-n1"},
    )  # fmt: skip


def test_only_what_the_timeline_wrote_is_told_where_nothing_else_shows(told):
    assert told() == [
        (0, "oca-n1", "oca-crash is in force", ""),
        (10, "oca-n1", "oca-crash ends", ""),
        (10, "oca-n1", "oca-crash is undone: state as before", ""),
    ]


def test_a_fault_that_never_began_has_no_steps(told):
    assert told(events=made.happened((-1, "planned"))) == []


def test_a_link_that_falls_silent_and_speaks_again(told):
    packets = [packet(t) for t in (1, 9.5, 10.004, 20.5, 21)]
    assert told("carrier", (struck_link(),), packets=packets) == [
        (0.004, LINK, "carries nothing any more after this packet", "oca-n1.eth0#3"),
        (10.5, LINK, "carries packets again, this one first", "oca-n1.eth0#4"),
    ]


def test_a_link_that_carries_on_is_not_silent(told):
    assert told("carrier", (struck_link(),), packets=[packet(t) for t in (1, 9, 15, 25)]) == []


def control(t_s, state=3, code=0, link=LINK, node="oca-n1", src=OCA, dst=HOME, multiplier=5):
    """A row of a BFD packet, and its frame: at least 100 ms between packets, either way."""
    words = {0: "bfd-admin-down", 1: "bfd-down", 2: "bfd-init", 3: "bfd-up"}
    said = struct.pack(">BBBBIIIII", 1 << 5 | code, state << 6, multiplier, 24, 1, 2, 100_000, 80_000, 0)
    row = packet(
        t_s, link, node, src=src, dst=dst, proto="udp", sport=49152, dport=3784, flow_id=None, tcp_len=None,
        starts_with=words[state],
    )  # fmt: skip
    return row, captures.ethernet(
        captures.ipv4(captures.udp(49152, 3784, said), src, dst, 17), captures.mac(1), captures.mac(2)
    )


def test_bfd_falls_silent_says_down_and_comes_up_again(told, tmp_path):
    ours = [control(n / 10, dst=OTHER) for n in range(101)]
    ours += [control(16 + n / 10, 1, dst=OTHER) for n in range(3)]
    ours += [control(16.5 + n / 10, dst=OTHER) for n in range(200)]
    theirs = [control(n / 10 + 0.01, src=OTHER, dst=OCA) for n in range(105)]
    theirs += [control(10.6 + n / 10, 1, 1, src=OTHER, dst=OCA) for n in range(60)]
    theirs += [control(16.6 + n / 10, src=OTHER, dst=OCA) for n in range(200)]
    lossy = [
        control(n / 10, link="oca-x1--north.core", node="oca-x1") for n in range(300) if n not in (120, 121)
    ]
    everything = sorted(ours + theirs, key=lambda each: each[0]["t_ns"]) + lossy
    for node in ("oca-n1", "oca-x1"):
        frames = [
            (captures.EPOCH_NS + row["t_ns"], frame) for row, frame in everything if row["node"] == node
        ]
        captures.write_pcap(tmp_path / "run" / "captures" / f"{node}.eth0.pcap", frames)
    packets = [row for row, _ in everything]
    assert told("bfd", packets=packets) == [
        (0, LINK, "BFD of oca-n1 falls silent; oca-x1 detects that in 500 ms", "oca-n1.eth0#201"),
        (0.6, LINK, "BFD of oca-x1 tells oca-n1 that it is down: detection time expired", "oca-n1.eth0#207"),
        (6, LINK, "BFD of oca-n1 tells oca-x1 that it is down", "oca-n1.eth0#261"),
        (6.5, LINK, "BFD of oca-n1 is up again with oca-x1", "oca-n1.eth0#269"),
        (6.6, LINK, "BFD of oca-x1 is up again with oca-n1", "oca-n1.eth0#272"),
    ]


def test_bgp_is_told_by_router_and_peer_while_struck_and_after(told):
    def heard(t_s, kind, prefix=None, node="north.core", peer="oca-n1", path=None):
        return {
            "t_ns": round(t_s * S), "node": node, "peer": peer, "kind": kind, "prefix": prefix,
            "as_path": path,
        }  # fmt: skip

    bgp = [
        heard(5, "withdraw", "10.9.0.0/16"),
        heard(10.02, "closed"),
        heard(10.03, "withdraw", "10.1.0.0/16", "north.edge", "north.core"),
        heard(10.04, "withdraw", "10.2.0.0/16", "north.edge", "north.core"),
        heard(14, "keepalive"),
        heard(21, "announce", "10.1.0.0/16", "north.edge", "north.core", "64500"),
    ]
    packets = [packet(10), packet(10.02, sport=179), packet(10.03, sport=40000, dport=179)]
    assert told("bgp", bgp=bgp, packets=packets) == [
        (0.02, "north.core", "the session with oca-n1 is closed", "oca-n1.eth0#2"),
        (0.03, "north.edge", "north.core withdraws 10.1.0.0/16 and 1 more", "oca-n1.eth0#3"),
        (11, "north.edge", "north.core announces 10.1.0.0/16, AS path 64500", ""),
    ]


def test_forwarding_changes_in_the_kernels_tables_and_packets_show_it(told):
    a, b = "north.homes.1--north.core", "north.homes.2--north.core"

    def route(t_s, change, link, prefix="10.0.0.13/32"):
        return {
            "t_ns": round(t_s * S), "node": "north.core", "prefix": prefix, "change": change,
            "kind": "unicast", "via": ["10.9.9.9"], "link": [link], "protocol": "bird", "metric": 0,
        }  # fmt: skip

    def sent(t_s, link):
        return packet(t_s, link, "north.core", interface=link.partition("--")[0], dst=HOME)

    routes = [
        route(-5, "present", a),
        route(11, "removed", a),
        route(11, "added", b),
        route(12, "removed", b),
        route(25, "added", a),
        route(26, "added", a, "10.9.0.0/16"),
    ]
    packets = [sent(9, a), sent(26, a), sent(11.5, b), sent(13, b)]
    assert told("forwarding", packets=packets, routes=routes) == [
        (1, "north.core", f"forwards {HOME}/32 by {b}, no longer by {a}", "north.core.north.homes.2#1"),
        (2, "north.core", f"forwards {HOME}/32 nowhere, no longer by {b}", ""),
        (15, "north.core", f"forwards {HOME}/32 and 1 more by {a}", "north.core.north.homes.1#2"),
    ]


def test_delay_and_loss_over_a_struck_link(told):
    def hop(t_s, delay_ms):
        received = None if delay_ms is None else round(t_s * S) + delay_ms * MS
        return {
            "link": LINK, "from": "oca-n1", "to": "north.core", "sent_ns": round(t_s * S),
            "received_ns": received, "delay_ns": None if received is None else delay_ms * MS,
            "lost": received is None,
        }  # fmt: skip

    hops = [hop(1, 5), hop(2, 5), hop(11, None), hop(12, 80), hop(13, 80), hop(25, 5)]
    faults = (dataclasses.replace(struck_link(), kind="link-impair"),)
    assert told("path", faults, hops=hops, packets=[packet(12.08)]) == [
        (2, LINK, "from oca-n1: delay 5 → 80 ms (median), 1 of 3 packets lost", "oca-n1.eth0#1")
    ]


def test_steering_that_says_something_else_to_whom(told):
    def decision(number, t_s, client, *ocas):
        return [
            {
                "t_ns": round(t_s * S), "decision": number, "client": client, "address": HOME,
                "title": "film", "oca": oca, "place": place,
            }
            for place, oca in enumerate(ocas, start=1)
        ]  # fmt: skip

    one, two = "north.homes.1", "north.homes.2"
    rows = [
        *decision(1, 1, one, "oca-n1", "oca-x1"), *decision(2, 2, two, "oca-n1", "oca-x1"),
        *decision(3, 12, one, "oca-x1"), *decision(4, 13, two, "oca-x1"), *decision(5, 14, two, "oca-x1"),
    ]  # fmt: skip
    assert told("steering", steering=rows) == [
        (2, "steering", f"tells {one} and 1 more: oca-x1; before it was oca-n1, oca-x1", "")
    ]


def test_tcp_closes_resets_sends_again_and_backs_off(told):
    again = {"tcp_seq": 7, "retransmission": True}
    packets = [
        packet(9.9, tcp_seq=7),
        packet(10.001, tcp_flags=FIN | 16, tcp_len=0),
        packet(10.2, **again), packet(10.6, **again), packet(11.4, **again),
        packet(12, tcp_flags=RST, tcp_len=0),
        packet(12.5, tcp_flags=RST, flow_id=2, src=OTHER),  # another connection
    ]  # fmt: skip
    rows = {"packets": packets, "flows": [flow(), flow(2, "oca-x1--north.core", server="oca-x1")]}
    assert told("tcp", **rows) == [
        (0.001, "oca-n1", "closes a connection", "oca-n1.eth0#2"),
        (
            0.2, "oca-n1", "backs off on a connection: one segment sent 4 times, 0.3 0.4 0.8 s apart",
            "oca-n1.eth0#3",
        ),
        (0.2, "oca-n1", "sends 1 segment of a connection again", "oca-n1.eth0#3"),
        (2, "oca-n1", "resets a connection", "oca-n1.eth0#6"),
    ]  # fmt: skip


def test_tcp_that_is_acknowledged_again(told):
    back = {"src": HOME, "dst": OCA, "direction": "in", "tcp_len": 0, "tcp_seq": 1}
    edge = 2**32 - 50
    packets = [
        packet(9.9, tcp_seq=edge), packet(10.2, tcp_seq=edge, retransmission=True),
        packet(10.3, **back, tcp_ack=edge), packet(10.7, **back, tcp_ack=50), packet(11, **back, tcp_ack=900),
    ]  # fmt: skip
    assert told("tcp", packets=packets, flows=[flow()])[1:] == [
        (0.7, "oca-n1", "is acknowledged again on a connection; the longest wait 0.5 s", "oca-n1.eth0#4")
    ]


def test_requests_fail_and_bytes_come_again(told):
    def asked(t_s, oca, error="", took_s=0.1):
        return {
            "t_ns": round(t_s * S), "session_id": "s0001", "client": "north.homes.1", "oca": oca,
            "error": error, "request_id": f"r{t_s}", "first_byte_ns": 0 if error else 50 * MS,
            "total_ns": round(took_s * S),
        }  # fmt: skip

    requests = [
        asked(9.8, "oca-n1", "connection lost", 0.7), asked(10.5, "steering"), asked(10.7, "oca-x1"),
        asked(14, "oca-x1"),
    ]  # fmt: skip
    packets = [packet(10.74, "north.homes.1--north.core", "north.homes.1", src=OTHER)]
    assert told("requests", requests=requests, packets=packets) == [
        (0.5, "north.homes.1", "1 request of 1 session fails at oca-n1: connection lost", ""),
        (
            0.75, "north.homes.1", "has bytes again, from oca-x1 (r10.7); the longest gap 0.250 s",
            "north.homes.1.eth0#1",
        ),
    ]  # fmt: skip


def test_viewers_fail_over_stall_and_give_up(told):
    playback = [
        made.moment(5, "s0001", "stall", 400, 0),  # before the fault
        made.moment(11, "s0002", "stall", 400, 0), made.moment(11.5, "s0002", "resume", 400, 4),
        made.moment(12, "s0001", "failover", 400, 1, **{"from": "oca-n1", "to": "oca-x1"}, took_ns=120 * MS),
        made.moment(13, "s0002", "failover", 400, 1, **{"from": "oca-n1", "to": "oca-x1"}, took_ns=340 * MS),
        made.moment(20, "s0001", "end", 400, 0, outcome="completed"),
        made.moment(21, "s0002", "end", 400, 0, outcome="error"),
    ]  # fmt: skip
    there = {"link": "north.homes.1--north.core", "node": "north.homes.1"}
    packets = [
        packet(10.5, dst="10.0.0.14", **there),
        packet(11.95, src=HOME, dst=OTHER, **there), packet(11.99, src=OTHER, **there),
    ]  # fmt: skip
    second = {"north.homes.2": "10.0.0.14"}
    assert told("player", playback=playback, packets=packets, addresses=second) == [
        (1, "north.homes.2", "s0002: the picture stands still", "north.homes.1.eth0#1"),
        (1.5, "north.homes.2", "s0002: plays on", "north.homes.1.eth0#1"),
        (
            2, "north.homes.1", "s0001 and 1 more: fails over from oca-n1 to oca-x1; the slowest took 340 ms",
            "north.homes.1.eth0#2",
        ),
        (11, "north.homes.2", "s0002: gives up", "north.homes.1.eth0#1"),
    ]  # fmt: skip


def test_what_comes_after_the_next_fault_is_told_there(told, tmp_path):
    faults = (struck_link(10, 2, 1), struck_link(15, 2, 2))
    events = [
        {"t_ns": t * S, "fault": n, "kind": "link-down", "target": "x", "phase": phase, "detail": ""}
        for n, t, phase in ((1, 10, "began"), (1, 12, "ended"), (2, 15, "began"), (2, 17, "ended"))
    ]
    told(faults=faults, events=events, playback=[made.moment(16, "s0001", "stall", 400, 0)])
    first, second = aftermath.explain(Tables(tmp_path / "run"))
    assert (first.until_ns, first.cut_by) == (15 * S, 2)
    assert "player" not in {step.stage for step in first.steps}
    assert "player" in {step.stage for step in second.steps}
    assert second.cut_by == 0
    assert [each.fault.id for each in aftermath.explain(Tables(tmp_path / "run"), 2)] == [2]


def test_a_stage_that_crashes_is_named_and_the_others_tell(told, tmp_path, monkeypatch):
    class Broken(aftermath.Stage):
        kind = "broken"

        def steps(self, struck):
            yield from ()
            raise ValueError("no such thing")

    kinds = registry.kinds("aftermath")
    monkeypatch.setattr(registry, "kinds", lambda group: {**kinds, "broken": Broken})
    assert len(told("fault")) == 3
    [found] = aftermath.explain(Tables(tmp_path / "run"))
    assert found.notes == ("broken crashed: ValueError: no such thing",)


def test_every_stage_has_its_place_in_the_order_of_causes():
    assert set(registry.kinds("aftermath")) == set(aftermath.ORDER)


def test_the_command_prints_and_answers_in_json(tmp_path):
    run = made.run(tmp_path / "run")
    said = CliRunner().invoke(app, ["explain", str(run), "--fault", "1", "-f", "json"])
    assert said.exit_code == 0
    [fault] = json.loads(said.stdout)["faults"]
    assert (fault["fault"], fault["at_ns"], fault["cut_by"]) == (1, 10 * S, None)
    [player] = [step for step in fault["steps"] if step["stage"] == "player"]
    assert (player["after_ns"], player["count"], player["where"]) == (1_500_000_000, 2, "north.homes.1")
    shown = CliRunner().invoke(app, ["explain", str(run)])
    assert "fault 1: oca-crash oca-n1 at 10s" in shown.stdout
    assert "+1.50 s" in shown.stdout
    refused = CliRunner().invoke(app, ["explain", str(run), "--fault", "7"])
    assert refused.exit_code == 2
    assert "has no fault 7; there are 1" in refused.stderr


def test_a_run_without_faults_says_so(tmp_path):
    run = made.run(tmp_path / "run", made.job(faults=()), events=[])
    assert CliRunner().invoke(app, ["explain", str(run)]).stdout == "nothing was broken in this run\n"


@pytest.mark.parametrize(
    ("after_ns", "percent"), [(0, 1), (10**5, 1), (10**7, 50), (10**9, 99), (10**12, 99)]
)
def test_the_axis_is_logarithmic(after_ns, percent):
    assert drawing.place(after_ns, 10**9) == percent


def test_the_report_draws_a_lane_for_each_stage(tmp_path):
    from testbed import pipeline

    run = made.run(tmp_path / "made" / "one")
    pipeline.judge(run)
    text = drawing.draw(story.read(run))
    for stage in ("fault", "requests", "player"):
        assert f"<b>{stage}</b>" in text
    assert "⚡1 oca-crash oca-n1 at 10 s" in text
    assert text.count('class="dot"') == text.count("<tr><td")
