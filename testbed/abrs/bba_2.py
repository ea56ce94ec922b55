"""BBA-2 is BBA-1 that starts by how fast the buffer grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import State
from testbed.abrs.bba_1 import Bba1
from testbed.units import Share


@dataclass(frozen=True, kw_only=True)
class Bba2(Bba1):
    """{kind: bba-2, steep: 87.5%, even: 50%}

    Huang et al., SIGCOMM 2014, section 6. While it starts, the bitrate steps up by one wherever a chunk
    of V seconds let the buffer grow by more than a share of V: `steep` (it came eight times faster than
    it plays) with an empty buffer, falling on a line to `even` (twice as fast) where the cushion is full.
    The start ends where the buffer shrinks, or the map of BBA-1 asks for more; outage protection begins
    only then.
    """

    kind: ClassVar[str] = "bba-2"

    steep: Share = Share(0.875)
    even: Share = Share(0.5)

    def choose(self, state: State) -> int:
        """By growth until the start has ended, which is read off the samples; then by the map."""
        ended = self._ended(state)
        if ended is not None:
            return self.mapped(state, ended)
        if not state.samples or state.last_rung is None:
            return 0
        stepped = self._started(state, len(state.samples) - 1)
        return max(stepped, self.mapped(state, len(state.samples)))

    def _ended(self, state: State) -> int | None:
        """After which sample the start ended; None while it lasts."""
        for number, sample in enumerate(state.samples):
            if sample.took_ns > state.title.segment_ns:
                return number
            # A rung above what growth alone had asked for came from the map.
            if number and sample.rung > self._started(state, number - 1):
                return number
        return None

    def _started(self, state: State, number: int) -> int:
        """The rung that growth asks for after a sample."""
        sample, segment_ns = state.samples[number], state.title.segment_ns
        full = min(1.0, sample.buffer_ns / (self.upper * state.buffer_max_ns))
        wanted_ns = (self.steep + full * (self.even - self.steep)) * segment_ns
        step = 1 if segment_ns - sample.took_ns > wanted_ns else 0
        return min(sample.rung + step, len(state.title.bitrates_kbps) - 1)
