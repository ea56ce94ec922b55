"""What happened is appended to the run's `events.jsonl`, one line and one system call at a time."""

from __future__ import annotations

import json
import os
from typing import Any


class Records:
    """The run's event file; several processes append to it, and O_APPEND keeps their lines whole."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, table: str, unix_ns: int, **columns: Any) -> None:
        """Append one row of `table`."""
        row = {"table": table, "unix_ns": unix_ns, **columns}
        os.write(self._descriptor, json.dumps(row, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
