"""Viewers arrive independently of one another, at a constant rate."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed import arrivals
from testbed.units import Duration


@dataclass(frozen=True, kw_only=True)
class Poisson(arrivals.Arrivals):
    """{kind: poisson, mean: 2s}

    The times between arrivals are exponential with that `mean`; each is at a client drawn uniformly, so a
    client may have several sessions.
    """

    kind: ClassVar[str] = "poisson"

    mean: Duration

    def __post_init__(self) -> None:
        if not self.mean:
            raise ValueError("a mean of 0s is an endless crowd; write for example 2s")

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[arrivals.Start]:
        """A Poisson process."""
        return arrivals.process(rng, clients, until_ns, self.mean)
