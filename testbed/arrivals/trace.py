"""Viewers arrive when a list of observed times says so, in the scenario or in a file of its own."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from testbed.arrivals import Arrivals, Start
from testbed.refusal import Wrong, quoted
from testbed.units import Duration

TIME = "time"  # the column that counts


@dataclass(frozen=True)
class TimesFile:
    """The times of a file, rising."""

    times: tuple[Duration, ...]


@dataclass(frozen=True, kw_only=True)
class Trace(Arrivals):
    """{kind: trace, at: [0s, 1.5s, 1.7s, 4s]}

    The times as they were observed, rising; each is at a client drawn uniformly. Instead of `at`, `file`
    is a CSV relative to this file, with a column `time` (`1.5s`, or plain seconds) among others, as
    `file: evening.csv`.
    """

    kind: ClassVar[str] = "trace"

    at: list[Duration] = field(default_factory=list)
    file: TimesFile | None = None

    def __post_init__(self) -> None:
        if bool(self.at) == (self.file is not None):
            raise Wrong("has its times either here or in a file", "write for example at: [0s, 1.5s]")
        if sorted(self.at) != list(self.at):
            raise Wrong("the times have to rise", "write for example at: [0s, 1.5s]")

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[Start]:
        """What of the list is before the end."""
        times = self.file.times if self.file else self.at
        return [(int(t_ns), rng.randrange(clients)) for t_ns in times if t_ns < until_ns]


def times(_written: str, path: Path) -> TimesFile:
    """The times of a CSV file; Wrong says what is wrong in which line, OSError that it cannot be read."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        header = [name.strip().lower() for name in next(rows, [])]
        if TIME not in header:
            raise Wrong(f"{path}:1: there is no column {TIME}", f"write a header with {TIME}")
        column = header.index(TIME)
        found: list[Duration] = []
        for row in rows:
            if row:
                cell = row[column].strip() if column < len(row) else ""
                found.append(_time(f"{path}:{rows.line_num}", cell))
                if len(found) > 1 and found[-1] < found[-2]:
                    what = f"{path}:{rows.line_num}: {found[-1].shown()} comes after {found[-2].shown()}"
                    raise Wrong(what, "write the times rising")
    if not found:
        raise Wrong(f"{path} has no times", "write one for each arrival, as 1.5s or in seconds")
    return TimesFile(tuple(found))


def _time(where: str, cell: str) -> Duration:
    try:
        return Duration.parse(cell if cell[-1:].isalpha() else f"{cell}s")
    except Wrong:
        raise Wrong(f"{where}: {quoted(cell)} is no time", "write for example 1.5s, or 1.5") from None
