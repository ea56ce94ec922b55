"""BBA-0 chooses by the buffer alone, on a straight line from the lowest bitrate to the highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import Abr, State
from testbed.units import Share


@dataclass(frozen=True, kw_only=True)
class Bba0(Abr):
    """{kind: bba-0, reservoir: 37.5%, upper: 90%}

    Huang et al., "A Buffer-Based Approach to Rate Adaptation", SIGCOMM 2014, section 4. The lowest
    bitrate up to the `reservoir`, the highest from `upper` on, where the cushion ends, both shares of the
    buffer; the bitrate changes only where the line has reached the next one. The paper's player holds 240
    s, with a reservoir of 90 s and the upper end at 216 s: the defaults. A player stops fetching at a
    full buffer and so never asks with more than one segment less than that in it; in a short buffer
    `upper` may lie above, so the upper end is held half a segment under it.
    """

    kind: ClassVar[str] = "bba-0"

    reservoir: Share = Share(0.375)
    upper: Share = Share(0.9)

    def choose(self, state: State) -> int:
        """Algorithm 1 of the paper."""
        reservoir_ns = self.reservoir * state.buffer_max_ns
        if state.buffer_ns <= reservoir_ns or state.last_rung is None:
            return 0
        upper_ns = upper_end_ns(state, self.upper, reservoir_ns)
        share = min(1.0, (state.buffer_ns - reservoir_ns) / max(1.0, upper_ns - reservoir_ns))
        return stepped(state.title.bitrates_kbps, share, state.last_rung)


def upper_end_ns(state: State, upper: float, reservoir_ns: float) -> float:
    """Where the cushion ends: a share of the buffer that the player can reach, above the reservoir."""
    reachable_ns = state.buffer_max_ns - 1.5 * state.title.segment_ns
    return max(reservoir_ns, min(upper * state.buffer_max_ns, reachable_ns))


def stepped(rates: Sequence[float], share: float, last: int, sizes: Sequence[float] | None = None) -> int:
    """The rung for a point of the line from `rates[0]` (share 0) to `rates[-1]` (1), given the last one.

    `sizes` are what the line is compared with where that is not the rates themselves (BBA-1: of chunks).
    """
    if share >= 1:
        return len(rates) - 1
    steps = rates if sizes is None else sizes
    wanted = rates[0] + share * (rates[-1] - rates[0])
    if wanted >= steps[min(last + 1, len(steps) - 1)]:
        return max((rung for rung, step in enumerate(steps) if step < wanted), default=0)
    if wanted <= steps[max(last - 1, 0)]:
        return min((rung for rung, step in enumerate(steps) if step > wanted), default=len(steps) - 1)
    return last
