"""A player's buffer is played at the speed of time; when it runs out is computed, not watched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Something that happened to a playback: startup, stall, resume or finish."""

    event: str
    unix_ns: int
    buffer_ns: int


class Playback:
    """The buffer of one session, from its start at `start_ns`; times are absolute and never go back.

    Video plays once `startup_ns` of it is there, stops at the exact instant at which none is left (even
    if nobody looks until later) and goes on once `resume_ns` is there. It also plays when no further
    segment would fit into `capacity_ns`, and when all segments are there.
    """

    def __init__(
        self,
        start_ns: int,
        *,
        capacity_ns: int,
        startup_ns: int,
        resume_ns: int,
        segment_ns: int,
        segments: int,
    ) -> None:
        self._clock_ns = start_ns
        self._capacity_ns = capacity_ns
        self._needed_ns = startup_ns
        self._resume_ns = resume_ns
        self._segment_ns = segment_ns
        self._missing = segments
        self._level_ns = 0
        self._started = False
        self._waiting_since_ns: int | None = start_ns
        self.played_ns = 0

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when the viewer has been waiting for video, at the last time given; None: it plays."""
        return self._waiting_since_ns

    def level_ns(self, now_ns: int) -> int:
        """The video left in the buffer at `now_ns`, without moving on."""
        if self._waiting_since_ns is not None:
            return self._level_ns
        return max(0, self._level_ns - (now_ns - self._clock_ns))

    def advance(self, now_ns: int) -> list[Moment]:
        """Play up to `now_ns`; the stall or the finish on the way there."""
        elapsed_ns, self._clock_ns = now_ns - self._clock_ns, now_ns
        if elapsed_ns < 0:
            raise ValueError(f"time goes back by {-elapsed_ns} ns")
        if self._waiting_since_ns is not None:
            return []
        left_ns = self._level_ns - elapsed_ns
        if left_ns > 0 or (left_ns == 0 and self._missing):
            self._level_ns = left_ns
            self.played_ns += elapsed_ns
            return []
        dry_ns = now_ns + left_ns
        self.played_ns += self._level_ns
        self._level_ns = 0
        self._waiting_since_ns = dry_ns
        return [Moment("stall" if self._missing else "finish", dry_ns, 0)]

    def receive(self, now_ns: int) -> list[Moment]:
        """Play up to `now_ns`, at which one more segment is there; what that brought about."""
        if not self._missing:
            raise ValueError("every segment is there already")
        moments = self.advance(now_ns)
        self._level_ns += self._segment_ns
        self._missing -= 1
        if self._waiting_since_ns is not None and self._enough():
            self._waiting_since_ns = None
            self._needed_ns = self._resume_ns
            moments.append(Moment("resume" if self._started else "startup", now_ns, self._level_ns))
            self._started = True
        return moments

    def room_at_ns(self, now_ns: int, ceiling_ns: int | None = None) -> int:
        """When the next segment fits, and no more than `ceiling_ns` of video is left: `now_ns` or later.

        The ceiling does not count while video is waited for: nothing would ever bring the level down to it.
        """
        most_ns = self._capacity_ns - self._segment_ns
        if ceiling_ns is not None and self._waiting_since_ns is None:
            most_ns = min(most_ns, ceiling_ns)
        return now_ns + max(0, self.level_ns(now_ns) - most_ns)

    def _enough(self) -> bool:
        full = self._level_ns + self._segment_ns > self._capacity_ns
        return self._level_ns >= self._needed_ns or full or not self._missing
