"""What the web servers logged becomes a table: one request as the server that answered it saw it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "access.jsonl"


def served(logs: Path, t0_unix_ns: int, owners: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of every `logs/<node>/access.jsonl`; a line that is torn is left out.

    `owners` is who has an address.
    """
    rows = []
    for path in sorted(logs.glob(f"*/{LOG}")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                rows.append(_row(path.parent.name, json.loads(line), t0_unix_ns, owners))
            except (ValueError, KeyError, TypeError):
                continue
    return rows


def _row(node: str, told: Mapping[str, Any], t0_unix_ns: int, owners: Mapping[str, str]) -> dict[str, Any]:
    method, _, rest = told["request"].partition(" ")
    return {
        "t_ns": _ns(told["t"]) - t0_unix_ns,
        "node": node,
        "client": owners.get(told["client"], told["client"]),
        "sport": int(told["port"]) if "port" in told else None,
        "request_id": told["request_id"],
        "method": method,
        "path": rest.partition(" ")[0],
        "status": told["status"],
        "body_bytes": told["body_bytes"],
        "bytes": told["bytes"],
        "took_ns": _ns(told["time_s"]),
        "tls": told["tls"],
        "connection": told["connection"],
    }


def _ns(seconds: str | float) -> int:
    """Seconds with three decimals, exactly."""
    return round(float(seconds) * 1000) * 10**6
