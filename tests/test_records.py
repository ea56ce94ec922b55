import json

import pytest
from captures import EPOCH_NS, S, network

from testbed.measure import records

EVENT = {
    "table": "events",
    "unix_ns": EPOCH_NS + S,
    "fault": 1,
    "kind": "oca-crash",
    "target": "s1",
    "phase": "began",
}


def wrote(folder, *lines):
    (folder / "events.jsonl").write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return records.read(folder / "events.jsonl", EPOCH_NS)


def happened(t_s, event, session="s0001", kbps=1000, **detail):
    return {
        "t_ns": round(t_s * S),
        "session_id": session,
        "event": event,
        "bitrate_kbps": kbps,
        "detail": detail,
    }


def viewed(*events, end_ns=100 * S):
    return records.sessions(network(), list(events), end_ns)[0]


def test_times_count_from_the_scenarios_start(tmp_path):
    found = wrote(tmp_path, EVENT)
    assert found.rows["events"] == [
        {"t_ns": S, "fault": 1, "kind": "oca-crash", "target": "s1", "phase": "began"}
    ]
    assert found.torn == 0


@pytest.mark.parametrize(
    "line",
    [
        '{"table":"events","unix_',
        "[1]",
        '"text"',
        "7",
        "{}",
        '{"table":"nonsense","unix_ns":1}',
        '{"table":"events","unix_ns":null}',
    ],
)
def test_a_torn_line_is_counted_and_left_out(tmp_path, line):
    found = wrote(tmp_path, EVENT, line)
    assert found.torn == 1
    assert sum(map(len, found.rows.values())) == 1


def test_no_file_has_no_rows(tmp_path):
    found = records.read(tmp_path / "events.jsonl", 0)
    assert found.rows == {name: [] for name in records.NAMES}


def test_a_session_from_start_to_end():
    row = viewed(
        happened(0.4, "segment", kbps=500, oca="s1"),
        happened(0.5, "startup"),
        happened(2, "switch"),
        happened(3, "segment", kbps=1000, oca="s1"),
        happened(4, "stall"),
        happened(5, "failover", **{"from": "s1", "to": "x1"}),
        happened(6.5, "resume"),
        happened(7, "segment", kbps=3000, oca="x1"),
        happened(9, "end", outcome="completed", played_ns=6 * S, played_kbit=9600, reason=""),
    )
    assert row == {
        "session_id": "s0001", "client": "c1", "isp": "north", "title": "film", "start_ns": 0,
        "play_delay_ns": S // 2, "rebuffers": 1, "rebuffer_ns": 2_500_000_000, "played_ns": 6 * S,
        "mean_kbps": 1500.0, "switches": 1, "failovers": 1, "ocas": ["s1", "x1"], "outcome": "completed",
            "reason": "", "start_failure": False, "abr": "bba", "device": "", "latency_ns": None,
            "rebuffer_ratio": 2.5 / 8.5, "rebuffers_per_hour": 600.0, "bitrate_kbps": 1600.0,
            # 4500 kbit/s, less changes of 2500, less 3000 times 2.5 s stalled and 0.5 s to the first frame
            "qoe_lin": pytest.approx((4500 - 2500 - 3000 * 3) / 3 / 1000),
    }  # fmt: skip


def test_play_delay_counts_from_when_the_session_was_to_start():
    rows = records.sessions(network(), [happened(3, "startup", session="s0002")], 9 * S)
    assert [row["play_delay_ns"] for row in rows] == [None, 2 * S]


def test_a_session_without_an_end_is_an_error():
    row = viewed(happened(1, "startup"))
    assert (row["outcome"], row["played_ns"], row["mean_kbps"], row["ocas"]) == ("error", None, None, [])


def test_a_stall_that_never_resumed_lasts_to_the_end():
    assert viewed(happened(4, "stall"), end_ns=10 * S)["rebuffer_ns"] == 6 * S
    cut = viewed(happened(4, "stall"), happened(7, "end", outcome="cut"), end_ns=10 * S)
    assert (cut["rebuffer_ns"], cut["outcome"]) == (3 * S, "cut")
