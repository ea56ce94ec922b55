"""Players in the guest: what they see is what the link allows, and what the OCA and the capture say it is."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from testbed import pipeline
from testbed.job import SECRETS
from testbed.measure.tables import Tables

S = 10**9
STEADY_KBPS, SEGMENT_NS = 1200, 2 * S
LADDER = (400, 800, 1600, 3200)
OUT_AT_NS, OUT_NS = 40 * S, 30 * S

TOPOLOGY = """
name: viewing
defaults: {link: {rate: 100mbit, delay: 2ms, queue: 50ms}}
access:
  slow: {down: {rate: 1200kbit, delay: 5ms, queue: 200ms}, up: {rate: 1mbit, delay: 5ms}}
  fast: {down: {rate: 8mbit, delay: 5ms, queue: 100ms}, up: {rate: 8mbit, delay: 5ms}}
isps:
  north:
    asn: 64501
    routers: [core]
    clients:
      steady: {count: 1, at: core, access: slow}
      out: {count: 1, at: core, access: fast}
      live: {count: 1, at: core, access: fast}
      calls: {count: 1, at: core, access: fast}
cdn:
  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {at: cdn.pop}, origin: {at: cdn.pop}}
ocas: {oca-n1: {at: north.core}}
links: [{endpoints: [north.core, cdn.pop], relation: customer}]
"""
# The buffer of `steady` is large, so that its map has room; `out` is patient, so that TCP goes on after it.
SCENARIO = f"""
name: viewing
topology: viewing.yaml
duration: 150s
titles: {{film: {{length: 300s, segment: 2s, bitrates: [400kbit, 800kbit, 1600kbit, 3200kbit]}}}}
workload:
  - {{kind: playback, clients: north.steady, title: film, abr: bba-0, buffer: 60s, arrivals: {{every: 0s}}}}
  - kind: playback
    clients: north.out
    title: film
    abr: {{kind: fixed, bitrate: 800kbit}}
    buffer: 12s
    timeout: 60s
    watch: {{mean: 100s, distribution: fixed}}
    arrivals: {{every: 0s}}
  - kind: playback
    clients: north.live
    title: film
    abr: bola
    http: "2"
    live: {{latency: 8s}}
    watch: {{mean: 40s, distribution: fixed}}
    arrivals: {{every: 0s, first: 20s}}
  - {{kind: realtime, clients: north.calls, server: origin, at: 1s, lasts: 10s}}
  - {{kind: bulk, clients: north.calls, server: origin, at: 20s, lasts: 10s, congestion: cubic}}
faults:
  - kind: link-impair
    link: north.core--north.out.1
    at: {OUT_AT_NS // S}s
    lasts: {OUT_NS // S}s
    rate: 1kbit
captures:
  - {{links: [north.core--north.live.1], snap: whole}}
  - all
"""
pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewing")
    (folder / "viewing.yaml").write_text(TOPOLOGY)
    (folder / "scenario.yaml").write_text(SCENARIO)
    job = pipeline.plan(folder / "scenario.yaml")
    result = pipeline.run(job, pipeline.venue("guest"), folder / "runs", lambda *_: None)
    assert result.exit == 0, result.reason
    return result.run


@pytest.fixture(scope="module")
def tables(run):
    return Tables(run)


def session(tables, population):
    (found,) = tables.sql(f"select session_id from sessions where client = 'north.{population}.1'")
    return found[0]


def test_at_a_constant_capacity_nobody_stalls_and_the_bitrate_is_next_to_it(tables):
    steady = session(tables, "steady")
    assert tables.scalar("select rebuffers from sessions where session_id = ?", steady) == 0
    late = "select distinct bitrate_kbps from playback where event = 'segment' and session_id = ?"
    around = {max(r for r in LADDER if r < STEADY_KBPS), min(r for r in LADDER if r > STEADY_KBPS)}
    seen = {kbps for (kbps,) in tables.sql(f"{late} and t_ns > 80e9", steady)}
    assert seen <= around
    # What came is what the line carries, less headers: neither idle for long nor more than there is.
    carried = tables.scalar(
        "select sum(bytes) * 8 / 70e6 from requests where session_id = ? and status = 206"
        " and t_ns between 80e9 and 150e9", steady,
    )  # fmt: skip
    assert 0.85 * STEADY_KBPS / 1000 < carried <= STEADY_KBPS / 1000


def test_an_outage_stalls_for_what_the_buffer_does_not_bridge(tables):
    out = session(tables, "out")

    def at(event):
        return [t_ns for (t_ns,) in tables.sql(
            "select t_ns from playback where session_id = ? and event = ? order by t_ns", out, event
        )]  # fmt: skip

    began_ns = tables.scalar("select t_ns from events where phase = 'began' and fault = 1")
    ended_ns = tables.scalar("select t_ns from events where phase = 'ended' and fault = 1")
    (startup_ns,), (stall_ns,), (resume_ns,) = at("startup"), at("stall"), at("resume")
    before = sum(t_ns < stall_ns for t_ns in at("segment"))
    assert stall_ns == startup_ns + before * SEGMENT_NS
    buffer_ns = stall_ns - began_ns
    assert 8 * S < buffer_ns < 12 * S + SEGMENT_NS
    first_ns = resume_ns - ended_ns  # the segment that was on its way, whole
    assert resume_ns - stall_ns == (ended_ns - began_ns) - buffer_ns + first_ns
    # It holds 200 kB, which takes 0.2 s at 8 Mbit/s; TCP may wait for a retransmission besides.
    assert 0 < first_ns < 2 * S
    assert tables.scalar("select failovers from sessions where session_id = ?", out) == 0
    assert tables.scalar("select outcome from sessions where session_id = ?", out) == "left"


def test_a_live_viewer_stays_at_the_latency(tables):
    ((latency_ns, played_ns, outcome),) = tables.sql(
        "select latency_ns, played_ns, outcome from sessions where session_id = ?", session(tables, "live")
    )
    assert 8 * S <= latency_ns < 8 * S + 2 * SEGMENT_NS
    assert played_ns > 36 * S
    assert outcome == "left"


def test_every_request_is_in_the_log_of_who_served_it_and_on_the_connection_it_says(tables):
    # both families are there, and IPv6 answers first
    spoken = tables.sql("select distinct address from requests where error = '' and client <> 'north.out.1'")
    assert all(":" in address for (address,) in spoken)
    whole = "requests join served using (request_id) where requests.oca <> 'steering' and requests.error = ''"
    asked = tables.scalar("select count(*) from requests where oca <> 'steering' and error = ''")
    assert asked > 100
    assert asked == tables.scalar(
        f"select count(*) from {whole} and requests.oca = served.node and requests.client = served.client"
        " and requests.bytes = served.body_bytes and requests.sport = served.sport"
    )
    # and there is exactly one flow of that port between the two
    flows = tables.sql(
        "select r.request_id, count(distinct f.flow_id) from requests r join flows f"
        " on f.client = r.client and f.server = r.oca and f.sport = r.sport"
        " where r.oca <> 'steering' and r.error = '' group by 1"
    )
    assert len(flows) == asked
    assert {count for _, count in flows} == {1}
    spoken = tables.sql("select distinct http from requests where oca = 'oca-n1' and error = ''")
    assert {http for (http,) in spoken} == {"1.1", "2"}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, which decrypts, is not installed")
def test_the_capture_says_the_same_once_decrypted(run, tables):
    ((node, interface),) = tables.sql("select node, interface from captures where link like '%north.live.1%'")
    capture = run / "captures" / f"{node}.{interface}.pcap"
    command = [
        "tshark", "-r", str(capture), "-o", f"tls.keylog_file:{run / SECRETS}", "-Y", "http2.headers",
        "-T", "fields", "-e", "tcp.srcport", "-e", "http2.header.value",
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = {}
    for line in told.splitlines():
        port, _, values = line.partition("\t")
        for value in values.split(","):
            if value.startswith(f"{session(tables, 'live')}-"):
                seen[value] = int(port)
    asked = dict(tables.sql(
        "select request_id, sport from requests where session_id = ? and oca <> 'steering' and status = 206",
        session(tables, "live"),
    ))  # fmt: skip
    assert len(asked) > 10
    assert {request_id: seen.get(request_id) for request_id in asked} == asked


def test_a_call_is_measured_on_an_idle_path_and_a_transfer_fills_it(tables):
    ((sent, received, delay_ns, jitter_ns),) = tables.sql(
        "select sent, received, delay_p99_ns, jitter_ns from traffic where kind = 'realtime'"
    )
    # 200 B each 16 ms for 10 s, once the client has asked; 2 + 2 + 5 ms of delay, and three links to cross
    assert sent == received
    assert 620 < sent <= 625
    assert 9 * 10**6 < delay_ns < 9.5 * 10**6
    assert jitter_ns < 10**5
    ((size, error),) = tables.sql("select bytes, error from traffic where kind = 'bulk'")
    assert error == ""
    # 10 s at 8 Mbit/s, less headers (1448 of 1514) and slow start
    assert 0.93 < size * 8 / 80e6 / (1448 / 1514) < 1
