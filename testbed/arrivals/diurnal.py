"""Viewers arrive as the day goes: a Poisson process whose rate follows a cosine."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from testbed import arrivals
from testbed.units import Duration, Share


@dataclass(frozen=True, kw_only=True)
class Diurnal(arrivals.Arrivals):
    """{kind: diurnal, mean: 2s, period: 24h, peak: 20h, trough: 20%}

    At the `peak` of each `period` arrivals come `mean` apart; half a period away, at that share of the rate:
    `trough`.
    """

    kind: ClassVar[str] = "diurnal"

    mean: Duration
    period: Duration = Duration(24 * 3600 * 10**9)
    peak: Duration = Duration(20 * 3600 * 10**9)
    trough: Share = Share(0.2)

    def __post_init__(self) -> None:
        if not self.mean or not self.period:
            raise ValueError(
                "mean and period are longer than nothing; write for example mean: 2s, period: 24h"
            )

    def starts(self, rng: random.Random, clients: int, until_ns: int) -> Iterable[arrivals.Start]:
        """A thinned Poisson process."""

        def share(t_ns: int) -> float:
            wave = (1 + math.cos(2 * math.pi * (t_ns - self.peak) / self.period)) / 2
            return self.trough + (1 - self.trough) * wave

        return arrivals.process(rng, clients, until_ns, self.mean, share)
