"""What a report tells, as plain data read from a run folder: drawing it needs no table and no kernel."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed import aftermath, registry
from testbed.aftermath import Aftermath
from testbed.job import Job
from testbed.verdict import Judgement


@dataclass(frozen=True)
class Moment:
    """One thing a player did or met."""

    t_ns: int
    event: str  # startup, segment, switch, stall, resume, failover, end
    bitrate_kbps: int
    buffer_ns: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request of a player to an OCA, at its start."""

    t_ns: int
    oca: str
    failed: bool
    bytes: int = 0


@dataclass(frozen=True)
class Story:
    """A run, as far as its report shows it."""

    job: Job
    judgement: Judgement
    run: dict[str, Any]  # run.json
    name: str  # of the run folder
    sessions: list[dict[str, Any]] = field(default_factory=list)
    moments: dict[str, list[Moment]] = field(default_factory=dict)  # by session
    requests: list[Request] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    aftermaths: list[Aftermath] = field(default_factory=list)

    @property
    def ocas(self) -> list[str]:
        """Every server of video, the job's own first: their order is that of their colours."""
        planned = [node.name for node in self.job.nodes if node.role == "oca"]
        return planned + sorted({request.oca for request in self.requests} - set(planned))

    def colour(self, kind: str) -> str:
        """The colour of a kind of fault."""
        found = registry.kinds("faults").get(kind)
        return str(getattr(found, "colour", "#d9d9d9"))


def read(run: Path) -> Story:
    """The story of a run that was tabulated and judged."""
    from testbed.measure.tables import Tables

    tables = Tables(run)
    moments: dict[str, list[Moment]] = {}
    for session, t_ns, event, bitrate_kbps, buffer_ns, detail in tables.sql(
        "select session_id, t_ns, event, bitrate_kbps, buffer_ns, detail from playback"
        " order by t_ns, session_id"
    ):
        told = json.loads(detail or "{}")
        moments.setdefault(session, []).append(Moment(t_ns, event, bitrate_kbps, buffer_ns, told))
    return Story(
        job=Job.read(run),
        judgement=Judgement.read(run),
        run=json.loads((run / "run.json").read_text()) if (run / "run.json").is_file() else {},
        name=f"{run.parent.name}/{run.name}",
        sessions=tables.frame("select * from sessions order by session_id").to_dicts(),
        moments=moments,
        requests=[
            Request(t_ns, oca, failed, size or 0)
            for t_ns, oca, failed, size in tables.sql(
                "select t_ns, oca, error <> '' or status >= 400, bytes from requests"
                " where oca <> 'steering' order by t_ns, request_id"
            )
        ],
        events=tables.frame("select * from events").to_dicts(),
        aftermaths=aftermath.explain(tables),
    )
