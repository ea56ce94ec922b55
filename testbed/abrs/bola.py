"""BOLA maximises utility and smoothness by the buffer alone, with Lyapunov's method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from testbed.abrs import Abr, State

_LEAST_SEGMENTS = 3


@dataclass(frozen=True, kw_only=True)
class Bola(Abr):
    """{kind: bola, variant: u, gamma-p: 5}

    Spiteri, Urgaonkar and Sitaraman, "BOLA: Near-Optimal Bitrate Adaptation for Online Videos", INFOCOM
    2016. With S_m the mean size of a segment of rung m, utility v_m = ln(S_m / S_0), Q the buffer in
    segments, it takes the m with the greatest (V (v_m + gp) - Q) / S_m, where V = (Qmax - 1) / (v_M +
    gp). `variant: basic` is that and no more; `finite` shrinks the buffer near the beginning and the end
    of the title, as the paper's algorithm for videos of finite length; `u` also does not go above the
    last segment's throughput (BOLA-U: no oscillation, at most one rung above what is sustainable).
    """

    kind: ClassVar[str] = "bola"

    variant: Literal["basic", "finite", "u"] = "u"
    gamma_p: float = 5.0

    def choose(self, state: State) -> int:
        """Lines 1 to 20 of the paper's algorithm BOLA."""
        best = self._best(state, self._held(state))
        last = state.last_rung
        if self.variant != "u" or last is None or best <= last or not state.samples:
            return best
        rates = state.title.bitrates_kbps
        bound = max(state.samples[-1].kbps, rates[0])
        sustained = max(rung for rung, rate in enumerate(rates) if rate <= bound)
        if sustained >= best:
            return best
        return last if sustained < last else sustained + 1

    def ceiling_ns(self, state: State) -> int:
        """Line 22: at most one segment less than the buffer in force."""
        segment_ns = state.title.segment_ns
        return min(super().ceiling_ns(state), round((self._held(state) - 1) * segment_ns))

    def _held(self, state: State) -> float:
        """Qmax in segments: of the player's buffer, or of less near either end of the title."""
        title = state.title
        most = state.buffer_max_ns / title.segment_ns
        if self.variant == "basic":
            return most
        played = state.index - state.buffer_ns / title.segment_ns
        left = len(title.segment_bytes) - state.index
        return min(most, max(min(played, left) / 2, _LEAST_SEGMENTS))

    def _best(self, state: State, most: float) -> int:
        rates = state.title.bitrates_kbps
        return best_rung(rates, state.buffer_ns / state.title.segment_ns, most, self.gamma_p)


def best_rung(sizes: Sequence[float], held: float, most: float, gamma_p: float) -> int:
    """The rung that BOLA-BASIC takes with `held` of at most `most` segments in the buffer.

    The higher of two equals. `sizes` in any unit: only their ratios count.
    """
    utilities = [math.log(size / sizes[0]) for size in sizes]
    weight = max(0.0, most - 1) / (utilities[-1] + gamma_p)
    scores = [
        (weight * (utility + gamma_p) - held) / size for utility, size in zip(utilities, sizes, strict=True)
    ]
    return max(range(len(sizes)), key=lambda rung: (scores[rung], rung))
