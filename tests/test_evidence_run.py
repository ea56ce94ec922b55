"""One real run, captured in part and whole: windows hold, Wireshark decrypts, every step has its packet."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_exports import quiet, trace_events

from testbed import aftermath, pipeline
from testbed.exports.pcapng import Pcapng
from testbed.exports.perfetto import Perfetto
from testbed.measure.tables import Tables

S = 10**9
METRO = Path(__file__).parents[1] / "topologies" / "metro.yaml"
SCENARIO = f"""\
name: evidence
topology: {METRO}
duration: 20s
titles:
  clip: {{length: 12s, segment: 4s, bitrates: [235kbit, 375kbit]}}
workload:
  - {{kind: playback, clients: south.phones, title: clip, buffer: 8s, arrivals: {{every: 200ms}}}}
faults:
  - {{kind: oca-crash, target: oca-s1, at: 4s, lasts: 6s}}
captures:
  - {{snap: {{"tcp port 443": whole}}}}
  - {{links: [south.phones.2--south.edge], from: 500ms, to: 3s, snap: whole}}
  - {{links: [south.phones.2--south.edge], from: 3s, to: 6s, filter: icmp}}
  - {{links: [south.core--ix], filter: "tcp port 179"}}
  - {{links: [south.phones.3--south.edge], ring: 1s around faults, snap: whole}}
  - {{links: [south.phones.4--south.edge], snap: 96B}}
"""
pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "scenario.yaml").write_text(SCENARIO)
    job = pipeline.plan(folder / "scenario.yaml")
    result = pipeline.run(job, pipeline.venue("guest"), folder / "runs", quiet)
    assert result.verdict == "pass", result.reason
    return result.run


@pytest.fixture(scope="module")
def tables(run):
    return Tables(run)


def tshark(path, *fields, only=""):
    if shutil.which("tshark") is None:
        pytest.skip("tshark, the judge, is not installed")
    command = ["tshark", "-r", path, "-n", "-T", "fields", "-Y", only]
    command += [word for field in fields for word in ("-e", field)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in said.stdout.splitlines()]


def test_each_link_has_what_its_windows_and_filters_let_in(tables):
    spans = (
        "select link, min(t_ns), max(t_ns), list(distinct proto order by proto) from packets group by link"
    )
    seen = {link: rest for link, *rest in tables.sql(spans)}
    first, last, protocols = seen["south.phones.2--south.edge"]
    assert S // 2 <= first < last < 3 * S
    assert "tcp" in protocols
    first, last, protocols = seen["south.phones.3--south.edge"]
    assert 3 * S <= first < last <= 11 * S
    assert seen["south.core--ix"][2] == ["tcp"]
    ports = tables.sql("select distinct least(sport, dport) from packets where link = 'south.core--ix'")
    assert ports == [(179,)]
    assert seen["south.phones.1--south.edge"][0] < 0  # from before the scenario starts
    assert tables.sql("select sum(drops), sum(unreadable), sum(unread_bytes) from captures") == [(0, 0, 0)]


def test_the_timeline_says_when_it_captured(tables):
    told = tables.sql(
        "select t_ns // 100000000, phase, target from events where kind = 'capture' order by t_ns"
    )
    two, three = "south.phones.2--south.edge", "south.phones.3--south.edge"
    assert told == [
        (5, "began", two), (30, "ended", two), (30, "began", "2 links"), (60, "ended", two),
        (110, "ended", three),
    ]  # fmt: skip


def test_what_a_closed_window_did_not_see_is_not_lost(tables):
    """Phone 2's packets went on after its capture had ended; none of them may count as lost."""
    lost = tables.sql("select sent_ns from hops where link = 'south.phones.2--south.edge' and lost")
    assert all(S // 2 <= sent_ns <= S for (sent_ns,) in lost)
    uplink = next(link.name for link in tables.job.links if {link.a, link.b} == {"south.edge", "south.core"})
    later = "select count(*) from packets where list_contains(?, dst) and t_ns > 3e9 and link = ?"
    phone = tables.job.node("south.phones.2")
    assert tables.scalar(later, [phone.address, phone.address6], uplink) > 100


def test_snap_lengths_are_those_asked_for(run):
    def lengths(name, only="tcp.port == 443"):
        rows = tshark(run / "captures" / name, "frame.cap_len", "frame.len", only=only)
        return [(int(kept), int(wire)) for kept, wire in rows]

    whole = lengths("south.phones.1.eth0.pcap")
    assert all(kept == wire for kept, wire in whole)
    assert max(wire for _, wire in whole) == 1514
    assert {kept == min(wire, 96) for kept, wire in lengths("south.phones.4.eth0.pcap", "")} == {True}


def test_the_pcapng_opens_decrypted_with_every_request_in_it(run, tables, tmp_path):
    path = tmp_path / "run.pcapng"
    count = Pcapng().write(run, path, quiet)
    assert count == tables.scalar("select sum(packets) from captures")
    requests = tshark(path, "http.request.line", only="http.request")
    found = {match[1] for (text,) in requests if (match := re.search(r"X-Request-Id: ([\w-]+)", text))}
    # Phone 4's requests are cut where they are seen first.
    answered = {
        name
        for (name,) in tables.sql(
            "select request_id from requests where status > 0 and client <> 'south.phones.4'"
        )
    }
    assert answered == found - {name for name in found if name.startswith("s0004")}
    assert len(answered) >= 12
    versions = tshark(path, "tls.handshake.extensions.supported_version", only="tls.handshake.type == 2")
    assert ["0x0304"] in versions
    comments = [text for (text,) in tshark(path, "frame.comment", only="frame.comment")]
    assert "fault 1 oca-crash oca-s1: began" in comments[0]


def test_every_step_of_the_aftermath_has_its_packet_in_the_capture_named(run, tables):
    [found] = aftermath.explain(tables)
    assert {"fault", "bgp", "tcp", "requests", "player"} <= {step.stage for step in found.steps}
    t0_unix_ns = json.loads((run / "guest.json").read_text())["t0_unix_ns"]
    sights = [sight for step in found.steps for sight in step.sights]
    assert len(sights) > 6
    for sight in sights:
        [(time,)] = tshark(
            run / "captures" / f"{sight.capture}.pcap",
            "frame.time_epoch",
            only=f"frame.number == {sight.frame}",
        )
        assert int(time.replace(".", "")) == t0_unix_ns + sight.t_ns
    player = next(step for step in found.steps if step.stage == "player")
    assert "fails over from oca-s1 to" in player.what
    assert player.count == 4


def test_the_trace_is_valid(run, tmp_path):
    Perfetto().write(run, tmp_path / "x.json", quiet)
    kinds = {each.get("cat") for each in trace_events(tmp_path / "x.json")["traceEvents"]}
    assert {"fault", "player", "flow", "bgp"} <= kinds
