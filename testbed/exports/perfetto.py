"""A run as a trace for ui.perfetto.dev: faults, players, flows, BGP and queues as tracks on one time axis.

Format: Trace Event Format (the JSON of chrome://tracing), whose times are microseconds. Time 0 of the trace
is the first event there is; `otherData` says where the scenario starts. A process is a group of tracks,
a thread is a track.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from testbed.exports import Export, Progress
from testbed.measure.query import Tables

FAULTS, PLAYERS, FLOWS, BGP, QUEUES = range(1, 6)
_GROUPS = {FAULTS: "faults", PLAYERS: "players", FLOWS: "flows", BGP: "BGP", QUEUES: "queues"}
Event = dict[str, Any]

# One row a connection, at the capture point that saw it first: that is next to who opened it.
_FLOWS = """
    select flow_id, client, server, sport, dport, proto, start_ns, end_ns, bytes_up, bytes_down,
           retransmitted, reset, node || '.' || interface as point
    from flows qualify row_number() over (partition by flow_id order by start_ns, node <> client, node) = 1
    order by start_ns, flow_id
"""


class Perfetto(Export):
    """ui.perfetto.dev and chrome://tracing."""

    kind = "perfetto"
    ending: ClassVar = ".json"

    def write(self, run: Path, into: Path, progress: Progress) -> int:
        """One JSON object, written event by event."""
        tables = Tables(run)
        first_ns = min(0, *(_first(tables, name) for name in ("bgp", "flows", "playback", "events")))
        kinds = (_faults, _players, _flows, _bgp, _queues)
        count = 0
        part = into.with_name(f".{into.name}.part")
        with part.open("w", encoding="utf-8") as file:
            about = {"scenario": tables.job.scenario, "run": run.name, "scenario_starts_us": -first_ns / 1000}
            file.write(
                '{"displayTimeUnit": "ns",\n"otherData": ' + json.dumps(about) + ',\n"traceEvents": [\n'
            )
            for done, events in enumerate(kinds):
                progress(self.kind, done, len(kinds))
                for event in _named(events(tables)):
                    if "ts" in event:
                        event["ts"] = (event["ts"] - first_ns) / 1000
                    if "dur" in event:
                        event["dur"] /= 1000
                    file.write((",\n" if count else "") + json.dumps(event, separators=(",", ":")))
                    count += 1
            file.write("\n]}\n")
        part.replace(into)
        return count


def _first(tables: Tables, name: str) -> int:
    time = "start_ns" if name == "flows" else "t_ns"
    return int(tables.scalar(f"select min({time}) from {name}") or 0)


def _named(events: Iterator[Event]) -> Iterator[Event]:
    """The events with the names of their groups and tracks before the first of each."""
    tracks: dict[tuple[int, str], int] = {}
    for event in events:
        group, track = event["pid"], event.pop("track", "")
        if (group, "") not in tracks:
            tracks[group, ""] = 0
            yield _meta("process_name", group, 0, name=_GROUPS[group])
            yield _meta("process_sort_index", group, 0, sort_index=group)
        if (group, track) not in tracks:
            tracks[group, track] = number = len(tracks)
            yield _meta("thread_name", group, number, name=track)
            yield _meta("thread_sort_index", group, number, sort_index=number)
        yield event | {"tid": tracks[group, track]}


def _meta(what: str, group: int, track: int, **told: object) -> Event:
    return {"ph": "M", "name": what, "pid": group, "tid": track, "args": told}


def _faults(tables: Tables) -> Iterator[Event]:
    for number, kind, target, began, ended, detail in tables.sql(
        """select fault, any_value(kind), any_value(target), min(t_ns) filter (phase = 'began'),
                  max(t_ns) filter (phase in ('ended', 'healed', 'not-healed')),
                  string_agg(detail, '; ') filter (phase in ('healed', 'not-healed'))
           from events where fault > 0 group by fault order by fault"""
    ):
        if began is not None:
            end_ns = tables.job.duration_ns if ended is None else ended
            yield {
                "ph": "X", "pid": FAULTS, "track": f"fault {number}", "name": f"{kind} {target}",
                "cat": "fault", "ts": began, "dur": end_ns - began,
                "args": {"fault": number, "after": detail or ""},
            }  # fmt: skip


def _players(tables: Tables) -> Iterator[Event]:
    """What each player is doing, from one change to the next; segments and failovers as moments."""
    states = {"startup": "playing", "resume": "playing", "stall": "stalled", "end": ""}
    now: dict[str, tuple[str, int]] = {}

    def until(session: str, t_ns: int) -> Iterator[Event]:
        state, since = now.get(session, ("", t_ns))
        if state:
            yield {
                "ph": "X", "pid": PLAYERS, "track": session, "name": state, "cat": "player", "ts": since,
                "dur": t_ns - since,
            }  # fmt: skip

    for session, start_ns in tables.sql("select session_id, start_ns from sessions order by session_id"):
        now[session] = ("waiting", start_ns)
    last_ns = 0
    for t_ns, session, event, kbps, buffer_ns, detail in tables.sql(
        "select t_ns, session_id, event, bitrate_kbps, buffer_ns, detail from playback"
        " order by t_ns, session_id"
    ):
        last_ns = t_ns
        if event in states:
            yield from until(session, t_ns)
            now[session] = states[event], t_ns
        else:
            yield {
                "ph": "i", "s": "t", "pid": PLAYERS, "track": session, "name": event, "cat": "player",
                "ts": t_ns, "args": json.loads(detail or "{}") | {"bitrate_kbps": kbps},
            }  # fmt: skip
        yield {
            "ph": "C", "pid": PLAYERS, "track": session, "name": f"{session} buffer", "ts": t_ns,
            "args": {"s": (buffer_ns or 0) / 1e9},
        }  # fmt: skip
    for session in now:
        yield from until(session, max(last_ns, tables.job.duration_ns))


def _flows(tables: Tables) -> Iterator[Event]:
    """Connections begin and end as async events: those of one client overlap."""
    for number, client, server, sport, dport, proto, start, end, up, down, again, reset, point in tables.sql(
        _FLOWS
    ):
        told = {
            "pid": FLOWS, "track": client, "cat": "flow", "id": str(number),
            "name": f"{proto} {client}:{sport} → {server}:{dport}",
        }  # fmt: skip
        args = {
            "flow_id": number, "seen_at": point, "bytes_up": up, "bytes_down": down, "retransmitted": again,
            "reset": reset,
        }  # fmt: skip
        yield {"ph": "b", "ts": start, "args": args, **told}
        yield {"ph": "e", "ts": end, **told}


def _bgp(tables: Tables) -> Iterator[Event]:
    for t_ns, node, peer, kind, prefix, path in tables.sql(
        "select t_ns, node, peer, kind, prefix, as_path from bgp where kind <> 'keepalive'"
        " order by t_ns, node, peer"
    ):
        yield {
            "ph": "i", "s": "t", "pid": BGP, "track": node, "name": f"{kind} {prefix or ''}".strip(),
            "cat": "bgp", "ts": t_ns, "args": {"peer": peer, "as_path": path or ""},
        }  # fmt: skip


def _queues(tables: Tables) -> Iterator[Event]:
    """What waits at every interface, where it changes."""
    for t_ns, node, interface, link, size in tables.sql(
        """select t_ns, node, interface, link, queue_bytes from links
           qualify queue_bytes is distinct from
               lag(queue_bytes, 1, 0) over (partition by node, interface order by t_ns)
           order by t_ns, node, interface"""
    ):
        yield {
            "ph": "C", "pid": QUEUES, "track": f"{node}.{interface}", "name": f"{node}.{interface} {link}",
            "ts": t_ns, "args": {"bytes": size},
        }  # fmt: skip
