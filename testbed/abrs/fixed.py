"""A fixed bitrate is no adaptation at all: the control of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs import Abr, State
from testbed.units import Rate


@dataclass(frozen=True, kw_only=True)
class Fixed(Abr):
    """{kind: fixed, bitrate: 750kbit}

    The title's highest bitrate that is not above `bitrate`, or its lowest.
    """

    kind: ClassVar[str] = "fixed"

    bitrate: Rate

    def choose(self, state: State) -> int:
        """The same whatever happens."""
        rates = state.title.bitrates_kbps
        return max((rung for rung, rate in enumerate(rates) if rate * 1000 <= self.bitrate), default=0)
