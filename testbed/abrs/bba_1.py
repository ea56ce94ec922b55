"""BBA-1 is BBA-0 for variable bitrates: it maps the buffer to the size of the next chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import Abr, State
from testbed.abrs.bba_0 import stepped, upper_end_ns
from testbed.units import Duration, Share

PAPER_BUFFER_NS = 240_000_000_000  # lengths of the paper are for this much buffer, and scaled for others
_BITS_NS_PER_KB = 8e6  # bytes x this / kbit/s are nanoseconds


@dataclass(frozen=True, kw_only=True)
class Bba1(Abr):
    """{kind: bba-1, reservoir-min: 8s, reservoir-max: 140s, upper: 90%, protection: 400ms}

    Huang et al., SIGCOMM 2014, section 5. The map goes from the mean chunk of the lowest bitrate to that
    of the highest, and is compared with the sizes of the chunks that come next. The reservoir is what the
    chunks of the lowest bitrate take out of the buffer at a capacity of just that bitrate, over the next
    two buffers' lengths of video, within its bounds. Each chunk that let the buffer grow while it was
    less than 75 % full shifts the map by `protection` against outages (bounded at 80 s). Durations are
    for the paper's buffer of 240 s and scaled for others.
    """

    kind: ClassVar[str] = "bba-1"

    reservoir_min: Duration = Duration(8_000_000_000)
    reservoir_max: Duration = Duration(140_000_000_000)
    upper: Share = Share(0.9)
    protection: Duration = Duration(400_000_000)

    def choose(self, state: State) -> int:
        """Algorithm 1 on the chunk map."""
        return self.mapped(state, 0)

    def mapped(self, state: State, protected_from: int) -> int:
        """The rung by the map, with outage protection from that sample on."""
        reservoir_ns = self.reservoir_ns(state) + self._protection_ns(state, protected_from)
        if state.buffer_ns <= reservoir_ns or state.last_rung is None:
            return 0
        upper_ns = upper_end_ns(state, self.upper, reservoir_ns)
        share = min(1.0, (state.buffer_ns - reservoir_ns) / max(1.0, upper_ns - reservoir_ns))
        return stepped(mean_sizes(state), share, state.last_rung, state.title.segment_bytes[state.index])

    def reservoir_ns(self, state: State) -> float:
        """The dynamic reservoir of section 5.2."""
        title, scale = state.title, state.buffer_max_ns / PAPER_BUFFER_NS
        ahead = title.segment_bytes[state.index :][: round(2 * state.buffer_max_ns / title.segment_ns)]
        taken_ns = sum(sizes[0] for sizes in ahead) * _BITS_NS_PER_KB / title.bitrates_kbps[0]
        missing_ns = taken_ns - len(ahead) * title.segment_ns
        return min(self.reservoir_max * scale, max(self.reservoir_min * scale, missing_ns))

    def _protection_ns(self, state: State, since: int) -> float:
        scale = state.buffer_max_ns / PAPER_BUFFER_NS
        levels = [sample.buffer_ns for sample in state.samples]
        grown = sum(
            1
            for before, after in zip(levels[since:], levels[since + 1 :], strict=False)
            if before < after < 0.75 * state.buffer_max_ns
        )
        return min(grown * self.protection, 80_000_000_000) * scale


def mean_sizes(state: State) -> list[float]:
    """The mean chunk of each rung in bytes, which its bitrate says."""
    title = state.title
    return [rate * title.segment_ns / _BITS_NS_PER_KB for rate in title.bitrates_kbps]
