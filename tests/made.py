"""Runs made by hand: a small network, and the tables a run on it could have left."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from testbed.job import Fault, Interface, Job, Link, Node, Session, Shape, Title
from testbed.measure.schema import TABLES
from testbed.venues import Lack, Progress

S = 10**9
FAST = Shape(rate_bps=10_000_000, delay_ns=5_000_000)

FILLED = ("events", "requests", "playback", "sessions", "packets", "captures")


def job(**changes: Any) -> Job:
    """Two homes behind one router, an embedded OCA that crashes, and another one."""

    def node(name: str, role: str, *others: str) -> Node:
        interfaces = tuple(
            Interface(name=f"eth{index}", link=f"{name}--{other}", mac=f"02::{index}", peer=other)
            for index, other in enumerate(others)
        )
        return Node(name=name, role=role, address=f"10.0.0.{len(name)}", interfaces=interfaces)

    def link(a: str, b: str) -> Link:
        return Link(
            name=f"{a}--{b}", a=a, a_interface="eth0", b=b, b_interface="eth0", a_to_b=FAST, b_to_a=FAST
        )

    given: dict[str, Any] = {
        "scenario": "made",
        "topology": "small",
        "seed": 1,
        "clock": "virtual",
        "duration_ns": 30 * S,
        "epoch_ns": 1_767_225_600 * S,
        "zone": "cdn.example",
        "nodes": (
            node("north.core", "router", "oca-n1", "oca-x1", "north.homes.1", "north.homes.2"),
            node("oca-n1", "oca", "north.core"),
            node("oca-x1", "oca", "north.core"),
            node("north.homes.1", "client", "north.core"),
            node("north.homes.2", "client", "north.core"),
        ),
        "links": (
            link("oca-n1", "north.core"),
            link("oca-x1", "north.core"),
            link("north.homes.1", "north.core"),
            link("north.homes.2", "north.core"),
        ),
        "titles": (
            Title(
                name="film",
                segment_ns=4 * S,
                bitrates_kbps=(400, 800),
                segment_bytes=((200_000, 400_000),) * 5,
            ),
        ),
        "sessions": tuple(session(f"s000{number}", f"north.homes.{number}") for number in (1, 2)),
        "faults": (
            Fault(
                id=1, kind="oca-crash", source="testbed.faults.oca_crash:OcaCrash", at_ns=10 * S,
                lasts_ns=10 * S, target="oca-n1", parameters={"target": "oca-n1"},
            ),
        ),
        "checks": (
            {"kind": "rebuffer-ratio", "max": 0.05},
            {"kind": "failover-time", "p95": 3 * S},
            {"kind": "sessions-complete", "min": 1.0},
            {"kind": "sql", "query": "select count(*) from sessions where outcome = 'error'", "equals": 0},
        ),
    }  # fmt: skip
    return Job(**{**given, **changes})


def session(name: str, client: str) -> Session:
    return Session(
        id=name, client=client, title="film", abr="bba", start_ns=0, buffer_ns=12 * S, startup_ns=4 * S,
        timeout_ns=2 * S, resolver="10.0.0.53", ca="/ca.pem",
    )  # fmt: skip


def viewed(name: str, **changes: Any) -> dict[str, Any]:
    """A row of `sessions` that went well."""
    row = {
        "session_id": name, "client": f"north.homes.{int(name[-1])}", "isp": "north", "title": "film",
        "start_ns": 0, "play_delay_ns": S // 2, "rebuffers": 0, "rebuffer_ns": 0, "played_ns": 20 * S,
        "mean_kbps": 720.0, "switches": 1, "failovers": 1, "ocas": ["oca-n1", "oca-x1"],
        "outcome": "completed",
    }  # fmt: skip
    return {**row, **changes}


def moment(t_s: float, name: str, event: str, kbps: int, buffer_s: float, **detail: Any) -> dict[str, Any]:
    return {
        "t_ns": round(t_s * S), "session_id": name, "event": event, "bitrate_kbps": kbps,
        "buffer_ns": round(buffer_s * S), "detail": json.dumps(detail),
    }  # fmt: skip


def played(name: str) -> list[dict[str, Any]]:
    """The rows of `playback` of a session that fails over at 11.5 s."""
    return [
        moment(0.4, name, "segment", 400, 4, index=0, oca="oca-n1"),
        moment(0.5, name, "startup", 400, 4),
        moment(1.0, name, "segment", 800, 7.5, index=1, oca="oca-n1"),
        moment(5.0, name, "segment", 800, 7.5, index=2, oca="oca-n1"),
        moment(11.5, name, "failover", 800, 1.0, **{"from": "oca-n1", "to": "oca-x1"}, took_ns=1_200_000_000),
        moment(11.6, name, "segment", 800, 4.9, index=3, oca="oca-x1"),
        moment(13.0, name, "segment", 800, 7.5, index=4, oca="oca-x1"),
        moment(20.5, name, "end", 800, 0, outcome="completed", played_ns=20 * S),
    ]


def fetched(name: str) -> list[dict[str, Any]]:
    """The rows of `requests` of that session."""
    return [
        {
            "t_ns": round(t_s * S), "session_id": name, "client": "north.homes.1", "oca": oca, "url": "https://x/1",
            "status": 0 if error else 206, "bytes": 0 if error else 400_000, "error": error,
            "request_id": f"{name}-{number}",
        }
        for number, (t_s, oca, error) in enumerate(
            [
                (0, "steering", ""), (0.1, "oca-n1", ""), (0.6, "oca-n1", ""), (4.5, "oca-n1", ""),
                (10.3, "oca-n1", "connection reset"), (11.4, "oca-x1", ""), (12.5, "oca-x1", ""),
            ]
        )
    ]  # fmt: skip


def happened(*phases: tuple[float, str]) -> list[dict[str, Any]]:
    """Rows of `events` about fault 1."""
    return [
        {
            "t_ns": round(t_s * S), "fault": 1, "kind": "oca-crash", "target": "oca-n1", "phase": phase,
            "detail": "state as before" if phase == "healed" else "",
        }
        for t_s, phase in phases
    ]  # fmt: skip


STRUCK_AND_HEALED = happened((-1, "planned"), (10, "began"), (20, "ended"), (20, "healed"))


def sent(*times_s: float) -> list[dict[str, Any]]:
    """Rows of `packets`: data that the OCA sent."""
    return [
        {
            "t_ns": round(t_s * S),
            "node": "oca-n1",
            "link": "oca-n1--north.core",
            "direction": "out",
            "tcp_len": 1448,
        }
        for t_s in times_s
    ]


def captured(drops: int | None = 0, unreadable: int = 0) -> dict[str, Any]:
    """A row of `captures`."""
    return {
        "node": "oca-n1", "interface": "eth0", "link": "oca-n1--north.core", "packets": 3, "drops": drops,
        "unreadable": unreadable, "unread_bytes": 0,
    }  # fmt: skip


def run(folder: Path, planned: Job | None = None, drops: int = 0, **rows: list[dict[str, Any]]) -> Path:
    """A run folder as the tables stage leaves it; tables that are not given hold a run that went well."""
    given = {
        "events": STRUCK_AND_HEALED,
        "requests": fetched("s0001") + fetched("s0002"),
        "playback": sorted(played("s0001") + played("s0002"), key=lambda row: row["t_ns"]),
        "sessions": [viewed("s0001"), viewed("s0002")],
        "packets": sent(1, 5, 25),
        "captures": [captured(drops)],
        **rows,
    }
    (folder / "tables").mkdir(parents=True)
    for name in dict.fromkeys((*FILLED, *rows)):
        made = pa.Table.from_pylist(list(given[name]), TABLES[name].arrow)
        pq.write_table(made, folder / "tables" / f"{name}.parquet")
    planned = planned or job()
    (folder / "job.json").write_text(planned.dumps())
    record(folder, planned)
    return folder


def record(folder: Path, planned: Job) -> None:
    """What a guest leaves beside the captures."""
    start = planned.epoch_ns + 5 * S
    (folder / "guest.json").write_text(
        json.dumps(
            {
                "finished": True,
                "t0_unix_ns": start,
                "end_unix_ns": start + planned.duration_ns,
                "capture": {"oca-n1.eth0": {"packets": 3, "drops": 0}},
                "kernel": "6.12.0",
            }
        )
    )
    (folder / "events.jsonl").write_text("")


class Venue:
    """A venue that makes runs by hand: `rows` are the tables' rows, `breaks` is raised half-way."""

    kind = "made"
    width = 1

    def __init__(
        self, breaks: BaseException | None = None, lacks: Sequence[Lack] = (), **rows: list[dict[str, Any]]
    ) -> None:
        self.ran: list[Path] = []
        self._breaks, self._lacks, self._rows = breaks, list(lacks), rows

    def lacks(self) -> list[Lack]:
        return self._lacks

    def run(self, planned: Job, into: Path, progress: Progress) -> None:
        self.ran.append(into)
        progress("virtual time", 15, 30)
        if self._breaks is not None:
            raise self._breaks
        run(into, planned, **self._rows)
        (into / "captures").mkdir()
        (into / "captures" / "oca-n1.eth0.pcap").write_bytes(b"packets of seed %d" % planned.seed)


def use(monkeypatch: Any, venue: Venue | None = None, planned: Job | None = None) -> Venue:
    """Let the pipeline plan this job, run it at this venue, and take the tables as they come."""
    from testbed import pipeline

    venue = venue or Venue()

    def plan(path: Path, seed: int | None = None, sets: object = None, clock: str = "virtual") -> Job:
        made = planned or job()
        return dataclasses.replace(made, seed=made.seed if seed is None else seed, clock=clock)

    monkeypatch.setattr(pipeline, "plan", plan)
    monkeypatch.setattr(pipeline, "venue", lambda kind: venue)
    monkeypatch.setattr(pipeline, "tabulate", lambda folder, progress=None: None)
    return venue
