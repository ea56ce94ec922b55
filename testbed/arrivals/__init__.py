"""Arrivals say when viewers of a population start, and which client each is at: one file each.

A kind is a dataclass whose docstring's first line is an example in YAML, found by the registry. Whatever is
drawn is drawn from the generator given, so the scenario's seed decides it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

Start = tuple[int, int]  # ns after the scenario's zero, and the number of the client from 0


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What all kinds have; subclasses set `kind` and say `starts`."""

    kind: ClassVar[str] = ""

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[Start]:
        """When sessions start before `until_ns`, in order."""
        raise NotImplementedError


def process(
    rng: random.Random,
    clients: int,
    until_ns: int,
    mean_ns: float,
    share: Callable[[int], float] = lambda _: 1,
) -> Iterator[Start]:
    """A Poisson process whose rate is 1 / `mean_ns`, thinned to `share(t_ns)` of it, which is at most 1.

    Lewis and Shedler, "Simulation of Nonhomogeneous Poisson Processes by Thinning", 1979. Each arrival
    is at a client drawn uniformly.
    """
    t_ns = 0
    while (t_ns := t_ns + round(rng.expovariate(1 / mean_ns))) < until_ns:
        if rng.random() < share(t_ns):
            yield t_ns, rng.randrange(clients)
