"""An adaptive bitrate algorithm chooses the rung of the next segment: one file each, found by the registry.

A kind is a dataclass of its parameters whose docstring's first line is an example in YAML. Its methods are
pure functions of the `State`: whatever an algorithm remembers, it reads off the samples, so that a choice can
be asked again from a run's tables. Runs in the guest: nothing but the standard library at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from testbed.job import Title


@dataclass(frozen=True)
class Sample:
    """A segment fetched: its bytes, the time from asking for it to its last byte, its rung, the buffer then.

    `buffer_ns` is the video in the buffer once the segment was in it.
    """

    size: int
    took_ns: int
    rung: int = 0
    buffer_ns: int = 0

    @property
    def kbps(self) -> float:
        """The throughput: 8 bits x 10^9 ns / 10^3."""
        return self.size * 8e6 / max(1, self.took_ns)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a player knows when it is about to ask for segment `index`."""

    title: Title
    index: int
    buffer_ns: int
    buffer_max_ns: int
    last_rung: int | None  # None before the first segment
    samples: Sequence[Sample] = ()  # of this session, oldest first


@dataclass(frozen=True, kw_only=True)
class Abr:
    """What all algorithms have; subclasses set `kind` and say `choose`."""

    kind: ClassVar[str] = ""

    def choose(self, state: State) -> int:
        """The rung of segment `state.index`: an index into the title's bitrates."""
        raise NotImplementedError

    def ceiling_ns(self, state: State) -> int:
        """The most video there may be in the buffer when the next segment is asked for.

        The player never asks with more than one segment less than its buffer holds; an algorithm may want
        less.
        """
        return state.buffer_max_ns - state.title.segment_ns


def harmonic_kbps(samples: Sequence[Sample]) -> float | None:
    """The harmonic mean of the throughputs, which one fast segment cannot raise much; None without any.

    Jiang et al., "Improving Fairness, Efficiency, and Stability in HTTP-based Adaptive Video Streaming with
    FESTIVE", CoNEXT 2012.
    """
    told = [sample for sample in samples if sample.size and sample.took_ns]
    return len(told) / sum(1 / sample.kbps for sample in told) if told else None
