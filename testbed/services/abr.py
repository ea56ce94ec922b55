"""Adaptive bitrate algorithms choose the rung of the next segment.

Each is a class with `choose(state)`, pure, found by its name in `ABRS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from testbed.job import Title


@dataclass(frozen=True)
class Sample:
    """A segment fetched: its bytes and the time from asking for it to its last byte."""

    size: int
    took_ns: int


@dataclass(frozen=True, kw_only=True)
class State:
    """What a player knows when it is about to ask for segment `index`."""

    title: Title
    index: int
    buffer_ns: int
    buffer_max_ns: int
    last_rung: int | None  # None before the first segment
    samples: Sequence[Sample] = ()  # oldest first


class Abr(Protocol):
    """An algorithm; one instance for each session."""

    def choose(self, state: State) -> int:
        """The rung of segment `state.index`: an index into the title's bitrates."""


class Bba:
    """Chooses by buffer alone: BBA-0 of Huang et al., "A Buffer-Based Approach to Rate Adaptation",
    SIGCOMM 2014, section 4.

    The lowest bitrate up to the reservoir, the highest from the upper end of the cushion on, a
    straight line f between; the bitrate changes only where f has reached the next one. The paper's
    player holds 240 s, with a reservoir of 90 s and the upper end at 216 s: 37.5 % and 90 %. A
    player stops fetching at a full buffer and so never asks with more than one segment less than
    that in it; in a short buffer 90 % may lie above, so the upper end is held half a segment under
    it.
    """

    reservoir = 0.375
    upper = 0.9

    def choose(self, state: State) -> int:
        """Algorithm 1 of the paper."""
        rates = state.title.bitrates_kbps
        reservoir_ns = self.reservoir * state.buffer_max_ns
        highest_ns = state.buffer_max_ns - 1.5 * state.title.segment_ns
        upper_ns = max(reservoir_ns, min(self.upper * state.buffer_max_ns, highest_ns))
        if state.buffer_ns <= reservoir_ns or state.last_rung is None:
            return 0
        if state.buffer_ns >= upper_ns:
            return len(rates) - 1
        share = (state.buffer_ns - reservoir_ns) / (upper_ns - reservoir_ns)
        wanted = rates[0] + share * (rates[-1] - rates[0])
        last = state.last_rung
        if wanted >= rates[min(last + 1, len(rates) - 1)]:
            return max((rung for rung, rate in enumerate(rates) if rate < wanted), default=0)
        if wanted <= rates[max(last - 1, 0)]:
            return min((rung for rung, rate in enumerate(rates) if rate > wanted), default=len(rates) - 1)
        return last


class Throughput:
    """Chooses the highest bitrate under a part of what the last segments came at.

    The estimate is the harmonic mean of the last five, which one fast segment cannot raise much
    (Jiang et al., "Improving Fairness, Efficiency, and Stability in HTTP-based Adaptive Video
    Streaming with FESTIVE", CoNEXT 2012); the safety factor of 0.8 is ours.
    """

    window = 5
    safety = 0.8

    def choose(self, state: State) -> int:
        """The lowest bitrate until there is a sample."""
        recent = [sample for sample in state.samples[-self.window :] if sample.size and sample.took_ns]
        if not recent:
            return 0
        # kbit/s of one sample: 8 bits x 10^9 ns / 10^3
        mean_kbps = len(recent) / sum(sample.took_ns / (sample.size * 8e6) for sample in recent)
        rates = state.title.bitrates_kbps
        return max((rung for rung, rate in enumerate(rates) if rate <= self.safety * mean_kbps), default=0)


ABRS: dict[str, type[Abr]] = {"bba": Bba, "throughput": Throughput}
