"""Steering tells clients of other servers than before, or in another order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from testbed.aftermath import Stage, Step, Struck

_LISTS = """
    select decision, any_value(t_ns), any_value(client), any_value(address), any_value(title),
           coalesce(list(oca order by place) filter (place is not null), [])
    from steering where t_ns < ? group by decision order by decision
"""


class Steering(Stage):
    """The first decision that differs from the last one before, for each such change."""

    kind = "steering"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each change of a list, with how many clients were told."""
        last: dict[tuple[str, str], list[str]] = {}
        found: dict[tuple[str, str], list[Any]] = {}
        for _, t_ns, client, address, title, ocas in struck.tables.sql(_LISTS, struck.until_ns):
            before = last.get((client, title))
            if t_ns >= struck.at_ns and before is not None and ocas != before:
                change = found.setdefault((_said(before), _said(ocas)), [t_ns, client, address, set(), t_ns])
                change[3].add(client)
                change[4] = t_ns
            last[client, title] = ocas
        where = next((node for node in struck.job.nodes if node.role == "steering"), None)
        for (before_said, said), (t_ns, client, address, clients, last_ns) in found.items():
            more = f" and {len(clients) - 1} more" if len(clients) > 1 else ""
            what = f"tells {client}{more}: {said}; before it was {before_said}"
            sight = struck.sights(
                "t_ns >= ? and t_ns < ? and dst = ? and sport = 443 and tcp_len > 0 and node = ?",
                t_ns, t_ns + 1_000_000_000, address, where.name if where else "",
            )  # fmt: skip
            yield Step(
                self.kind, t_ns, where.name if where else "steering", what, sight, len(clients),
                last_ns if last_ns > t_ns else None,
            )  # fmt: skip


def _said(ocas: list[str]) -> str:
    return ", ".join(ocas) or "nobody"
