"""The throughput-based algorithm takes the highest bitrate under a part of what the last segments came at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import Abr, State, harmonic_kbps
from testbed.units import Share


@dataclass(frozen=True, kw_only=True)
class Throughput(Abr):
    """{kind: throughput, window: 5, safety: 80%}

    The estimate is the harmonic mean of the last `window` segments (FESTIVE, CoNEXT 2012); the safety factor
    is ours. The lowest bitrate until there is a sample.
    """

    kind: ClassVar[str] = "throughput"

    window: int = 5
    safety: Share = Share(0.8)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"a window of {self.window} segments holds none; write at least 1")

    def choose(self, state: State) -> int:
        """The highest bitrate that the estimate bears."""
        mean_kbps = harmonic_kbps(state.samples[-self.window :])
        if mean_kbps is None:
            return 0
        rates = state.title.bitrates_kbps
        return max((rung for rung, rate in enumerate(rates) if rate <= self.safety * mean_kbps), default=0)
