"""What viewers saw: the picture stands still, playback goes on elsewhere, or ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from testbed.aftermath import Sight, Stage, Step, Struck

_SEEN = """
    select event, detail, t_ns, session_id from playback
    where t_ns >= ? and t_ns < ? and event in ('stall', 'resume', 'failover', 'end') order by t_ns, session_id
"""


class Player(Stage):
    """Failovers, stalls, and sessions that ended in an error."""

    kind = "player"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each kind of event, and for each pair of servers of a failover."""
        clients = dict(struck.tables.sql("select session_id, client from sessions"))
        found: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        for event, detail, t_ns, session in struck.tables.sql(_SEEN, struck.at_ns, struck.until_ns):
            told = json.loads(detail or "{}")
            key = event
            if event == "failover":
                key = f"fails over from {told.get('from')} to {told.get('to')}"
            elif event == "end":
                if told.get("outcome") != "error":
                    continue
                key = "gives up"
            found.setdefault(key, []).append((t_ns, session, told))
        for key, events in found.items():
            t_ns, session, told = events[0]
            sessions = len({session for _, session, _ in events})
            more = f" and {sessions - 1} more" if sessions > 1 else ""
            words = {"stall": "the picture stands still", "resume": "plays on"}.get(key, key)
            slowest = max((int(told.get("took_ns", 0)) for _, _, told in events), default=0)
            took = f"; the slowest took {slowest / 1e6:.0f} ms" if slowest else ""
            last_ns = events[-1][0]
            yield Step(
                self.kind, t_ns, clients.get(session, session), f"{session}{more}: {words}{took}",
                _shown(struck, clients.get(session, ""), t_ns, told), len(events),
                last_ns if last_ns > t_ns else None,
            )  # fmt: skip


def _shown(struck: Struck, client: str, t_ns: int, told: dict[str, Any]) -> tuple[Sight, ...]:
    """Of a failover the first packet to the new server; else the last one that brought the client bytes."""
    here = [address for address, node in struck.names.items() if node == client]
    if "to" in told:
        there = [address for address, node in struck.names.items() if node == told["to"]]
        where = "list_contains(?, src) and list_contains(?, dst) and tcp_len > 0 and t_ns between ? and ?"
        return struck.sights(where, here, there, t_ns - int(told.get("took_ns", 0)), t_ns)
    where = "list_contains(?, dst) and sport = 443 and tcp_len > 0 and t_ns <= ?"
    return struck.sights(where, here, t_ns, last=True)
