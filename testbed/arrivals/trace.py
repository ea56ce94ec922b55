"""Viewers arrive when a list of observed times says so."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed.arrivals import Arrivals, Start
from testbed.units import Duration


@dataclass(frozen=True, kw_only=True)
class Trace(Arrivals):
    """{kind: trace, at: [0s, 1.5s, 1.7s, 4s]}

    The times as they were observed, rising; each is at a client drawn uniformly.
    """

    kind: ClassVar[str] = "trace"

    at: list[Duration]

    def __post_init__(self) -> None:
        if not self.at or sorted(self.at) != list(self.at):
            raise ValueError("the times have to be there and to rise; write for example at: [0s, 1.5s]")

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[Start]:
        """What of the list is before the end."""
        return [(int(t_ns), rng.randrange(clients)) for t_ns in self.at if t_ns < until_ns]
