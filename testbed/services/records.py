"""What happened is appended to the run's `events.jsonl`, rows of one time by one system call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any


class Records:
    """The run's event file; several processes append to it, and O_APPEND keeps their lines whole."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, table: str, unix_ns: int, **columns: Any) -> None:
        """Append one row of `table`."""
        self.write_rows(table, unix_ns, [columns])

    def write_rows(self, table: str, unix_ns: int, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows of one time, with one system call."""
        common = {"table": table, "unix_ns": unix_ns}
        lines = [json.dumps(common | row, separators=(",", ":")) + "\n" for row in rows]
        if lines:
            os.write(self._descriptor, "".join(lines).encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
