"""What steering wrote down becomes a table: a row for each OCA of each decision, with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.job import Job

Row = dict[str, Any]
LOG = Path("logs", "steering", "steering.log")


def told(run: Path) -> Iterator[Row]:
    """Every line of steering's log that is an object with a time; what else is there is a traceback."""
    path = run / LOG
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "unix_ns" in row:
            yield row


def clients(job: Job) -> dict[str, str]:
    """The node behind each address of either family."""
    return {own: node.name for node in job.nodes for own in (node.address, node.address6) if own}


def decisions(run: Path, job: Job, t0_unix_ns: int) -> list[Row]:
    """The rows of the table `steering`."""
    names = clients(job)
    rows: list[Row] = []
    number = 0
    for row in told(run):
        if "title" not in row or "client" not in row:
            continue
        number += 1
        shared = {
            "t_ns": row["unix_ns"] - t0_unix_ns, "decision": number,
            "client": names.get(row["client"], row["client"]), "address": row["client"],
            "title": row["title"], "status": row["status"], "mode": row.get("mode", "list"),
            "miss": row.get("miss", ""),
        }  # fmt: skip
        places = {url["oca"]: place for place, url in enumerate(row.get("urls", ()), start=1)}
        choices = row.get("choices", [])
        rows += [shared | _choice(choice, places) for choice in choices]
        known = {choice["oca"] for choice in choices}
        rows += [
            shared | {"oca": oca, "place": place, "reason": "the origin"}
            for oca, place in places.items()
            if oca not in known
        ]
        if not choices and not places:
            rows.append(shared | {"reason": row.get("error", "")})
    return rows


def _choice(choice: Row, places: dict[str, int]) -> Row:
    criteria = choice.get("criteria", {})
    return {
        "oca": choice["oca"], "rank": choice["rank"], "place": places.get(choice["oca"]),
        "reason": choice["refusal"] or _behind(choice["decided_by"]),
        "decided_by": choice["decided_by"], "site": criteria.get("site"), "prefix": choice.get("prefix"),
        "as_path": choice.get("as_path"), "med": choice.get("med"), "distance": criteria.get("distance"),
        "age_ns": choice["age_ns"],
    }  # fmt: skip


def _behind(criterion: str) -> str:
    return f"behind the one before by {criterion}" if criterion else "the best"
