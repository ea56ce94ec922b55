"""A crowd comes at once: the rate of arrivals jumps, and falls back exponentially."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed import arrivals
from testbed.units import Duration


@dataclass(frozen=True, kw_only=True)
class FlashCrowd(arrivals.Arrivals):
    """{kind: flash-crowd, mean: 5s, at: 60s, times: 10, decay: 30s}

    A Poisson process with arrivals `mean` apart, whose rate is `times` that at `at`, and e times less of the
    excess with every `decay` from there.
    """

    kind: ClassVar[str] = "flash-crowd"

    mean: Duration
    at: Duration
    times: float = 10.0
    decay: Duration = Duration(30 * 10**9)

    def __post_init__(self) -> None:
        if not self.mean or not self.decay or self.times < 1:
            raise ValueError(
                "mean and decay are longer than nothing, times at least 1; write for example mean: 5s"
            )

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[arrivals.Start]:
        """A Poisson process at the highest rate, thinned."""

        def share(t_ns: int) -> float:
            excess = (self.times - 1) * math.exp((self.at - t_ns) / self.decay) if t_ns >= self.at else 0.0
            return (1 + excess) / self.times

        return arrivals.process(rng, clients, until_ns, self.mean / self.times, share)
