"""What clients do when the CDN steers, drains, fails and falls silent: one run, asked of packets and tables.

S7, S8 and S9 are the rules of that name for Open Connect: what drains gets nobody new, an OCA without a
control plane stops serving after its grace, and a dead first OCA costs the player's own time-out.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.measure.steering import told
from testbed.measure.tables import Tables

HERE = Path(__file__).parent
MS, S = 10**6, 10**9
RTT_NS = 12 * MS  # 2 x 5 ms of access, and what links without a delay of their own serialise
DRAIN = "t_ns between 4e9 and 14e9"
GRACE_NS = 6 * S
pytestmark = pytest.mark.guest


def run(name, out):
    command = [sys.executable, "-m", "testbed", "run", f"cdn/{name}.yaml", "--out", str(out), "-f", "json"]
    done = subprocess.run([*command, "--quiet"], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["run"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run("steered", tmp_path_factory.mktemp("steered"))


@pytest.fixture(scope="module")
def tables(folder):
    return Tables(folder)


def test_every_fault_struck_and_healed(folder):
    faults = json.loads((folder / "verdict.json").read_text())["faults"]
    assert [(each["kind"], each["took_hold"], each["healed"]) for each in faults] == [
        ("oca-drain", True, True), ("certificate-mismatch", True, True), ("content-missing", True, True),
        ("content-truncated", True, True),
        ("link-impair", True, True), ("certificate-expired", True, True), ("control-plane-down", True, True),
    ]  # fmt: skip


def test_s7_what_drains_gets_nobody_new_and_keeps_whom_it_has(tables):
    had = tables.scalar("select count(distinct session_id) from requests where oca = 'oca-a' and t_ns < 4e9")
    assert had >= 2
    # nobody opens a connection to it, and those who have one get all they ask for
    syn = f"select count(*) from packets where link = 'oca-a--north.core' and tcp_flags & 18 = 2 and {DRAIN}"
    assert tables.scalar(f"{syn} and dport = 443") == 0
    kept = tables.sql(
        f"""select session_id, count(*) from requests where oca = 'oca-a' and {DRAIN} and status = 206
            group by session_id"""
    )
    assert len(kept) == had
    assert all(segments >= 4 for _, segments in kept)
    new = tables.sql("select ocas[1] from sessions where start_ns between 4e9 and 14e9 and title = 'film'")
    assert new == [("oca-b",)] * 4
    why = tables.sql(
        f"select distinct reason, miss, rank from steering where oca = 'oca-a' and {DRAIN} and title = 'film'"
    )
    assert ("draining", None) in {(reason, rank) for reason, _, rank in why}
    assert {reason for reason, _, _ in why} == {"draining"}


def test_s8_without_a_control_plane_an_oca_serves_for_its_grace_and_no_longer(folder, tables):
    t0_ns = json.loads((folder / "guest.json").read_text())["t0_unix_ns"]
    for oca in ("oca-a", "oca-b"):
        taken_ns = max(
            row["unix_ns"] - t0_ns
            for row in told(folder)
            if oca in (row.get("again"), row.get("report", {}).get("oca")) and row["unix_ns"] < t0_ns + 50 * S
        )
        ends_ns = taken_ns + GRACE_NS + RTT_NS  # the agent hears that it was taken half an RTT later
        of = "select count(*) from requests where oca = ? and t_ns between ? and 64e9"
        assert tables.scalar(f"{of} and status = 206", oca, ends_ns) == 0
        assert tables.scalar(f"{of} and status = 503", oca, ends_ns) > 0
        said = "select distinct error from requests where oca = ? and status = 503"
        assert tables.sql(said, oca) == [("HTTP 503: no control plane",)]
        before = "select count(*) from requests where oca = ? and t_ns between 50e9 and ? and status = 206"
        assert tables.scalar(before, oca, taken_ns + GRACE_NS - RTT_NS) > 0
        # a link that lost all until 40.5 s kept an OCA's reports from it, too: for longer than its grace
        first = "select min(t_ns) from requests where oca = ? and status = 503 and t_ns > 48e9"
        first_ns = tables.scalar(first, oca)
        assert first_ns >= taken_ns + GRACE_NS - RTT_NS
        log = (folder / "logs" / oca / "agent.log").read_text().splitlines()
        said = {text: int(unix_ns) - t0_ns for unix_ns, _, text in (line.partition(" ") for line in log)}
        stopped, again = said["not serving: no control plane"], said["serving again"]
        assert taken_ns + GRACE_NS <= stopped <= ends_ns
        assert 64 * S <= again < 66 * S
    # who has a list goes to the origin, which is not of those that stop, and sees no stall
    running = "start_ns between 35e9 and 48e9"
    assert tables.sql(f"select distinct ocas[-1] from sessions where {running}") == [("origin",)]
    assert tables.scalar(f"select sum(rebuffers) from sessions where {running}") == 0


def test_s9_a_dead_first_oca_costs_the_players_own_timeout(tables):
    dead = tables.sql(
        """select session_id, t_ns, total_ns, error from requests
           where oca = 'oca-a' and t_ns between 34.5e9 and 40.5e9 and error != ''"""
    )
    assert len(dead) >= 2
    assert {error for *_, error in dead} == {"timeout: no byte for 4 s"}
    for session, t_ns, total_ns, _ in dead:
        assert 4 * S <= total_ns <= 4 * S + RTT_NS
        following = "select min(t_ns) from requests where session_id = ? and t_ns > ? and oca = 'oca-b'"
        # its look-up of the next one's name comes after, so the next request begins where this one ended
        assert abs(tables.scalar(following, session, t_ns) - t_ns - 4 * S) <= RTT_NS
    slow = {session for session, *_ in dead}
    quick = (
        "select play_delay_ns from sessions where start_ns between 35e9 and 37e9 and session_id {} in ({})"
    )
    listed = ", ".join(f"'{session}'" for session in slow)
    (late,) = tables.sql(f"select max(d) - min(d), min(d) from ({quick.format('', listed)}) t(d)")
    (usual,) = tables.sql(f"select max(d) from ({quick.format('not', listed)}) t(d)")
    assert late[0] <= RTT_NS
    assert abs(late[1] - usual[0] - 4 * S) <= 2 * RTT_NS


def test_s9_the_wait_is_the_delay_and_the_next_fetch_less_the_buffer(tables):
    """A buffer of 3 s is less than the time-out: the stall is max(0, delay + refetch - buffer), exactly."""
    failed = tables.sql(
        """select session_id, t_ns, total_ns from requests join sessions using (session_id)
           where start_ns between 33e9 and 34.5e9 and error like 'timeout%' and t_ns < 40e9"""
    )
    assert failed
    for session, t_ns, delay_ns in failed:
        said = "select t_ns, buffer_ns from playback where session_id = ? and event = 'segment' and t_ns <= ?"
        filled_ns, level_ns = tables.sql(f"{said} order by t_ns desc", session, t_ns)[0]
        buffer_ns = level_ns - (t_ns - filled_ns)
        again = "select t_ns, total_ns from requests where session_id = ? and t_ns > ? and status = 206"
        next_ns, refetch_ns = tables.sql(f"{again} order by t_ns", session, t_ns)[0]
        moments = "select min(t_ns) from playback where session_id = ? and event = ? and t_ns > ?"
        stalled, resumed = (tables.scalar(moments, session, each, t_ns) for each in ("stall", "resume"))
        assert 0 <= next_ns - (t_ns + delay_ns) < MS
        assert abs((resumed - stalled) - max(0, delay_ns + refetch_ns - buffer_ns)) < MS


def test_an_older_device_is_served_by_tls_1_2_and_http_2(tables):
    spoken = tables.sql(
        """select distinct start_ns between 33e9 and 34.5e9, tls, http from served
           join requests using (request_id) join sessions using (session_id)
           where requests.status = 206 and oca != 'origin'"""
    )
    assert sorted(spoken) == [(False, "TLSv1.3", "1.1"), (True, "TLSv1.2", "2")]


def test_a_title_that_the_nearest_ocas_lack_is_a_content_miss(tables):
    rows = tables.sql(
        "select distinct oca, reason, miss, place from steering where title = 'rare' order by oca"
    )
    assert {(oca, reason) for oca, reason, *_ in rows} >= {
        ("oca-a", "does not hold rare"), ("oca-b", "does not hold rare"), ("oca-x", "the best"),
    }  # fmt: skip
    assert {miss for *_, miss, _ in rows} == {"content miss"}
    assert tables.sql("select distinct ocas[1] from sessions where title = 'rare'") == [("oca-x",)]


def test_errors_say_what_was_wrong_and_nobody_stalls_for_them(tables):
    for oca, window, error in (
        ("oca-b", "17e9 and 22e9", "certificate refused: another name"),
        ("oca-a", "24e9 and 28e9", "HTTP 404"),
        ("oca-b", "41.5e9 and 44.5e9", "certificate refused: expired"),
    ):
        found = tables.sql(
            f"select distinct error from requests where oca = ? and error != '' and t_ns between {window}",
            oca,
        )
        assert found == [(error,)]
    # what is cut off is refused by name, or told from a whole segment by its length
    told_of = "select distinct error from requests where oca = 'oca-x' and error != ''"
    short = tables.sql(f"{told_of} and t_ns between 29e9 and 32e9")
    assert short
    assert all(e == "HTTP 416" or re.fullmatch(r"\d+ bytes instead of \d+", e) for (e,) in short)
    # a file that is gone is known to steering from the next report on
    known = tables.sql(
        """select min(t_ns) from steering where oca = 'oca-a' and reason = 'does not hold film'"""
    )
    assert known == [(None,)] or 24 * S < known[0][0] < 28 * S
    assert tables.scalar("select count(*) from sessions where outcome = 'error'") == 0
    assert tables.scalar("select sum(rebuffers) from sessions where start_ns < 30e9") == 0


def test_an_ocas_connections_are_paced_by_the_kernel(tables):
    """At 4 Mbit/s a byte of payload takes 2 us, but in the first ten packets of a connection."""
    gaps = """
        with sent as (
            select tcp_len, t_ns - lag(t_ns) over (partition by src, dst, dport order by t_ns) as gap_ns
            from packets where link = ? and direction = 'out' and node = ? and sport = 443 and tcp_len > 1400
        ) select count(*), count(*) filter (gap_ns = tcp_len * 2000), count(*) filter (gap_ns < 1000000)
        from sent where gap_ns < 100000000"""
    every, paced, close = tables.sql(gaps, "oca-a--north.core", "oca-a")[0]
    assert every > 1000
    assert paced > 0.8 * every
    assert close < 0.1 * every
    every, paced, close = tables.sql(gaps, "oca-b--north.core", "oca-b")[0]
    assert paced == 0
    assert close > 0.9 * every


def test_steer_decides_again_as_it_was_decided_then(folder, tables):
    rows = tables.sql(
        """select t_ns, client, title, list(oca order by place) from steering
           where place is not null and t_ns < 64e9 group by decision, t_ns, client, title
           order by t_ns"""
    )
    assert len(rows) > 8
    for t_ns, client, title, ocas in rows[:: len(rows) // 3]:
        command = [sys.executable, "-m", "testbed", "steer", str(folder), client, title, "--at", f"{t_ns}ns"]
        done = subprocess.run([*command, "-f", "json"], capture_output=True, text=True, check=True)
        assert [url["oca"] for url in json.loads(done.stdout)["urls"]] == ocas
