"""What an ISP tells each OCA decides whom it serves: S1, S2, S3, S5 and S6 on packets and tables.

cdn/levers-topology.yaml says who is told what, and which rule each population is for.
"""

import dataclasses
from pathlib import Path

import pytest

from testbed import job as jobs
from testbed import pipeline
from testbed.measure.tables import Tables
from testbed.venues.guest import Guest

HERE = Path(__file__).parent
MS, S = 10**6, 10**9
SPECIFIC, PATH, MED, UNHEARD, WITHDRAWN = (f"10.1.{64 + 8 * place}.0" for place in range(5))
SHUT_NS, REPORT_NS, TTL_NS = 8 * S, 2 * S, 4 * S


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    job = pipeline.plan(HERE / "cdn" / "levers.yaml")
    asked = jobs.Fault(
        id=2, kind="sockets-asked", source="outside_sockets:Asked", at_ns=5 * S, lasts_ns=S, target="oca-1",
        parameters={"node": "oca-1"},
    )  # fmt: skip
    out = tmp_path_factory.mktemp("levers")
    faulty = dataclasses.replace(job, faults=(*job.faults, asked))
    result = pipeline.run(faulty, Guest(), out, lambda *_: None)
    assert not result.reason, result.evidence
    return result.run


@pytest.fixture(scope="module")
def tables(folder):
    return Tables(folder)


pytestmark = pytest.mark.guest


def ranked(tables, population, title="clip", until_s=8):
    """The OCAs of the decisions for a population, in their order, with why each comes behind another."""
    rows = tables.sql(
        """select list(oca order by rank), list(decided_by order by rank) from steering
           where client like ? and title = ? and rank is not null and t_ns < ? group by decision""",
        f"north.{population}.%", title, until_s * S,
    )  # fmt: skip
    assert len(rows) == 2
    assert rows[0] == rows[1]
    return rows[0]


def served(tables, population):
    """Which OCAs sent payload to a population's addresses, by what their links carried."""
    network = {"specific": SPECIFIC, "path": PATH, "med": MED, "unheard": UNHEARD}[population]
    low, third = network.rsplit(".", 2)[0], int(network.split(".")[2])
    addresses = ", ".join(f"'{low}.{third}.{host}'" for host in range(8))
    rows = tables.sql(
        f"""select distinct replace(replace(link, 'north.core--', ''), '--north.core', '') from packets
            where link like '%oca-%' and dst in ({addresses}) and sport = 443 and tcp_len > 0"""
    )
    return {oca for (oca,) in rows}


def test_s1_the_longest_match_wins_over_path_and_med(tables):
    assert ranked(tables, "specific") == (["oca-1", "oca-2"], ["", "prefix"])
    assert served(tables, "specific") == {"oca-1"}


def test_s2_the_shorter_path_wins_over_med(tables):
    assert ranked(tables, "path") == (["oca-2", "oca-3"], ["", "path"])
    assert served(tables, "path") == {"oca-2"}


def test_s3_the_lower_med_wins_and_a_missing_one_is_lowest(tables):
    assert ranked(tables, "med") == (["oca-3", "oca-4", "oca-5"], ["", "med", "med"])
    assert served(tables, "med") == {"oca-3"}
    heard = dict(
        tables.sql("select node, any_value(med) from bgp where prefix = ? group by node", f"{MED}/21")
    )
    assert {oca: heard[oca] for oca in ("oca-3", "oca-4", "oca-5")} == {
        "oca-3": None,
        "oca-4": 100,
        "oca-5": 200,
    }


def test_s5_whom_nobody_was_told_of_gets_not_one_byte_and_is_told_why(tables):
    assert served(tables, "unheard") == set()
    reasons = tables.sql(
        "select distinct rank, reason like 'no route to %' from steering where client like 'north.unheard%'"
    )
    assert reasons == [(None, True)]
    assert tables.sql("select distinct outcome from sessions where client like 'north.unheard%'") == [
        ("error",)
    ]
    errors = tables.sql("select distinct oca, error from requests where client like 'north.unheard%'")
    assert sorted(errors) == [("steering", f"nobody can serve clip to 10.1.88.{host}") for host in (1, 3)]


def test_s6_after_a_withdrawal_new_sessions_move_and_running_ones_do_not(tables):
    closed = tables.scalar(
        "select min(t_ns) from bgp where kind = 'notification' and node = 'oca-1' and t_ns > 0"
    )
    assert SHUT_NS <= closed < SHUT_NS + 100 * MS
    known = tables.sql(
        """select t_ns, max(oca) filter (rank = 1) from steering where client like 'north.withdrawn%'
           and t_ns > ? group by decision, t_ns order by t_ns""",
        closed + REPORT_NS + 100 * MS,
    )  # fmt: skip
    assert known
    assert {oca for _, oca in known} == {"oca-2"}
    moved = "select distinct ocas from sessions where client like 'north.withdrawn%' and start_ns >= ?"
    assert tables.sql(moved, closed + REPORT_NS + TTL_NS) == [(["oca-2"],)]
    running = "select ocas, outcome from sessions where client like 'north.withdrawn%' and start_ns < ?"
    assert tables.sql(running, SHUT_NS) == [(["oca-1"], "completed")] * 2
    late = "select count(*) from requests where oca = 'oca-1' and status = 206 and t_ns > ?"
    assert tables.scalar(late, closed + REPORT_NS + TTL_NS) > 10


def test_who_is_full_is_passed_over_and_the_private_peering_is_next(tables):
    rows = tables.sql(
        """select t_ns, list(oca order by place) filter (place is not null),
               max(reason) filter (oca = 'oca-6'), max(site) filter (oca = 'oca-7'), max(miss)
           from steering where client like 'north.crowd%' group by decision, t_ns order by t_ns"""
    )
    first = {round(t_ns / S): tuple(said) for t_ns, *said in rows}
    assert first[2] == first[5] == (["oca-6", "oca-7"], "the best", "pni", "")
    full = (["oca-7"], "full: 2 of 2 connections", "pni", "health miss")
    assert first[8] == first[11] == full
    assert tables.sql("select ocas from sessions where client like 'north.crowd%' order by start_ns") == [
        (["oca-6"],), (["oca-6"],), (["oca-7"],), (["oca-7"],),
    ]  # fmt: skip


def test_a_response_comes_at_the_pace_that_the_player_asks_for(tables):
    """Three times the title's 200 kbit/s with an empty buffer, 1.5 times with a full one of 6 s."""
    piece = 16 * 1024  # after each of which nginx waits, but the last
    segments = tables.sql(
        """select any_value(bytes), any_value(total_ns - first_byte_ns),
               coalesce(max_by(buffer_ns - (r.t_ns - p.t_ns), p.t_ns), 0)
           from requests r left join playback p
               on p.session_id = r.session_id and event = 'segment' and p.t_ns <= r.t_ns
           where client like 'north.crowd%' and status = 206 group by request_id"""
    )
    assert len(segments) > 40
    assert min(level_ns for *_, level_ns in segments) == 0
    assert max(level_ns for *_, level_ns in segments) > 3 * S
    for size, took_ns, level_ns in segments:
        kbps = (size - 1) // piece * piece * 8e6 / took_ns
        assert kbps == pytest.approx(200 * (3 - 1.5 * level_ns / (6 * S)), rel=0.03)


def test_an_oca_sends_by_the_congestion_control_that_it_is_told(folder):
    """As ss(8) has it from the kernel: a line for each connection, and one of what TCP knows of it."""
    lines = (folder / "logs" / "oca-1" / "ss.log").read_text().splitlines()
    known = [line.split() for line in lines[1::2]]
    assert len(known) >= 2
    assert {words[0] for words in known} == {"bbr"}
    assert all(any(word.startswith("bbr:(bw:") for word in words) for words in known)


def test_a_title_that_no_oca_has_ends_in_an_error_by_name(tables):
    rows = tables.sql(
        """select distinct s.outcome, r.status, r.error from sessions s join requests r using (session_id)
           where s.title = 'ghost'"""
    )
    assert rows == [("error", 404, "HTTP 404: no title ghost")]
