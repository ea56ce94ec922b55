"""The clients of a population start one after the other, each once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed.arrivals import Arrivals, Start
from testbed.units import Duration


@dataclass(frozen=True, kw_only=True)
class Every(Arrivals):
    """{every: 1s, first: 0s}

    The kind need not be named.
    """

    kind: ClassVar[str] = "every"

    every: Duration
    first: Duration = Duration(0)

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[Start]:
        """The first at `first`, then one `every`."""
        return [(self.first + number * self.every, number) for number in range(clients)]
