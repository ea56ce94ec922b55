"""What the guest wrote down becomes tables: events, requests, playback, traffic, counters, sessions."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed.job import Job, Session

Row = dict[str, Any]
NAMES = ("events", "requests", "playback", "links", "traffic", "fill", "routes")
QOE_SWITCHING, QOE_REBUFFERING = 1.0, 3000.0  # λ; μ and μs in kbit/s
_HOUR_NS = 3600 * 10**9


@dataclass(frozen=True)
class Records:
    """The rows of events.jsonl by table, and how many lines could not be read."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in NAMES})
    torn: int = 0


def read(path: Path, t0_unix_ns: int) -> Records:
    """Read the guest's records; a missing file has none.

    A guest that was killed may leave its last line torn. Such a line, and any other that is not an
    object with a table and a time, is counted and left out.
    """
    records = Records()
    torn = 0
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            table, t_ns = row.pop("table"), int(row.pop("unix_ns")) - t0_unix_ns
            records.rows[table].append({"t_ns": t_ns} | row)
        except (ValueError, KeyError, TypeError, AttributeError):
            torn += 1
    return Records(records.rows, torn)


def sessions(job: Job, playback: list[Row], end_ns: int) -> list[Row]:
    """One row for each playback of the job, from its player's events.

    A playback without an end ended in error: its player died. A stall that never resumed lasts
    until the end, or else until `end_ns`.
    """
    events: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(playback, key=lambda row: row["t_ns"]):
        events[row.get("session_id", "")].append(row)
    return [_session(job, session, events[session.id], end_ns) for session in job.sessions]


def _session(job: Job, session: Session, events: list[Row], end_ns: int) -> Row:
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in events:
        by_kind[row.get("event", "")].append(row)
    started = by_kind["startup"][0]["t_ns"] if by_kind["startup"] else None
    last = by_kind["end"][-1] if by_kind["end"] else None
    end = _detail(last) if last else {}
    bitrates = [row["bitrate_kbps"] for row in by_kind["segment"]]
    used = [_detail(row).get("oca") for row in by_kind["segment"]]
    outcome = end.get("outcome", "error")
    played_ns = end.get("played_ns") or 0
    rebuffer_ns = _stalled(events, last["t_ns"] if last else end_ns)
    return {
        "session_id": session.id,
        "client": session.client,
        "isp": job.node(session.client).isp,
        "title": session.title,
        "start_ns": session.start_ns,
        "play_delay_ns": None if started is None else started - session.start_ns,
        "rebuffers": len(by_kind["stall"]),
        "rebuffer_ns": rebuffer_ns,
        "played_ns": end.get("played_ns"),
        # Segments of a title are equally long, so their mean is the mean over time.
        "mean_kbps": sum(bitrates) / len(bitrates) if bitrates else None,
        "bitrate_kbps": end["played_kbit"] * 1e9 / played_ns if played_ns and "played_kbit" in end else None,
        "rebuffer_ratio": rebuffer_ns / (rebuffer_ns + played_ns) if rebuffer_ns + played_ns else None,
        "rebuffers_per_hour": len(by_kind["stall"]) * _HOUR_NS / played_ns if played_ns else None,
        "switches": len(by_kind["switch"]),
        "failovers": len(by_kind["failover"]),
        "ocas": list(dict.fromkeys(oca for oca in used if oca)),
        "outcome": outcome,
        "reason": end.get("reason", "" if end else "its player died"),
        "start_failure": outcome == "error" and started is None,
        "abr": session.abr,
        "device": session.device,
        "latency_ns": end.get("latency_ns"),
        "qoe_lin": qoe_lin(bitrates, rebuffer_ns, None if started is None else started - session.start_ns),
    }


def qoe_lin(bitrates_kbps: list[int], rebuffer_ns: int, play_delay_ns: int | None) -> float | None:
    """The linear quality of experience a segment, in Mbit/s; None without a segment.

    Yin et al., SIGCOMM 2015, equation 5 over the number of segments, with q the bitrate, λ = 1 and
    μ = μs = 3000 kbit/s: the sum of bitrates, less that of their changes, less μ times the seconds stalled
    and μs times those to the first frame.
    """
    if not bitrates_kbps:
        return None
    changes = sum(abs(after - before) for before, after in pairwise(bitrates_kbps))
    waited_s = (rebuffer_ns + (play_delay_ns or 0)) / 1e9
    total = sum(bitrates_kbps) - QOE_SWITCHING * changes - QOE_REBUFFERING * waited_s
    return total / len(bitrates_kbps) / 1000


def _stalled(events: list[Row], end_ns: int) -> int:
    """Nanoseconds between each stall and what ends it."""
    total, since = 0, None
    for row in events:
        if row.get("event") == "stall" and since is None:
            since = row["t_ns"]
        elif row.get("event") in ("resume", "seek", "skip") and since is not None:
            total, since = total + row["t_ns"] - since, None
    return total if since is None else total + max(end_ns - since, 0)


def _detail(row: Row) -> dict[str, Any]:
    detail = row.get("detail")
    return detail if isinstance(detail, dict) else {}
