"""RobustMPC plans the next segments for the best quality of experience at the worst throughput to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import Abr, State, harmonic_kbps

_BITS_NS_PER_KB = 8e6


@dataclass(frozen=True, kw_only=True)
class RobustMpc(Abr):
    """{kind: robust-mpc, horizon: 5, window: 5, switching: 1, rebuffering: 3000}

    Yin et al., "A Control-Theoretic Approach for Dynamic Adaptive Video Streaming over HTTP", SIGCOMM
    2015. Over the next `horizon` segments it maximises QoE_lin: the sum of bitrates, less `switching` (λ)
    times the changes between them, less `rebuffering` (μ, in kbit/s) times the seconds stalled. The
    throughput expected is the harmonic mean of the last `window` segments over one plus the greatest
    relative error that such an estimate made among them. The search is exact.
    """

    kind: ClassVar[str] = "robust-mpc"

    horizon: int = 5
    window: int = 5
    switching: float = 1.0
    rebuffering: float = 3000.0

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.window < 1:
            raise ValueError("horizon and window are of one segment at least; write for example 5")

    def choose(self, state: State) -> int:
        """The first step of the best plan; the lowest bitrate until there is a sample."""
        expected_kbps = self.expected_kbps(state)
        if expected_kbps is None or state.last_rung is None:
            return 0
        title = state.title
        segment_s = title.segment_ns / 1e9
        most_s = state.buffer_max_ns / 1e9
        # Plans that end in one rung: (score, buffer, first rung). Of two, one is never better that has
        # neither more score nor more buffer, since what follows is the same and never worse with more of it.
        fronts: dict[int, list[tuple[float, float, int]]] = {
            state.last_rung: [(0.0, state.buffer_ns / 1e9, -1)]
        }
        for sizes in title.segment_bytes[state.index : state.index + self.horizon]:
            reached: dict[int, list[tuple[float, float, int]]] = {}
            for rung, rate in enumerate(title.bitrates_kbps):
                took_s = sizes[rung] * _BITS_NS_PER_KB / expected_kbps / 1e9
                plans = []
                for before, front in fronts.items():
                    change = self.switching * abs(rate - title.bitrates_kbps[before])
                    for score, buffer_s, first in front:
                        stall_s = max(0.0, took_s - buffer_s)
                        left_s = min(most_s, max(0.0, buffer_s - took_s) + segment_s)
                        gained = score + rate - change - self.rebuffering * stall_s
                        plans.append((gained, left_s, rung if first < 0 else first))
                reached[rung] = _front(plans)
            fronts = reached
        best = max(
            (plan for front in fronts.values() for plan in front), key=lambda plan: (plan[0], -plan[2])
        )
        return best[2]

    def expected_kbps(self, state: State) -> float | None:
        """The lower bound of the throughput; None without a sample."""
        mean_kbps = harmonic_kbps(state.samples[-self.window :])
        if mean_kbps is None:
            return None
        errors = [0.0]
        for number in range(max(1, len(state.samples) - self.window), len(state.samples)):
            told_kbps = harmonic_kbps(state.samples[max(0, number - self.window) : number])
            if told_kbps is not None:
                actual_kbps = state.samples[number].kbps
                errors.append(abs(told_kbps - actual_kbps) / actual_kbps)
        return mean_kbps / (1 + max(errors))


def _front(plans: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The plans that no other beats in both score and buffer."""
    kept: list[tuple[float, float, int]] = []
    for plan in sorted(plans, key=lambda plan: (-plan[0], -plan[1], plan[2])):
        if not kept or plan[1] > kept[-1][1]:
            kept.append(plan)
    return kept
