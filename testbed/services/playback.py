"""A player's buffer is played at the speed of time; when it runs out is computed, not watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Something that happened to a playback: startup, stall, resume, pause, unpause, seeked or finish."""

    event: str
    unix_ns: int
    buffer_ns: int


class Playback:
    """The buffer of one session, from its start at `start_ns`; times are absolute and never go back.

    Video plays once `startup_ns` of it is there, stops at the exact instant at which none is left (even
    if nobody looks until later) and goes on once `resume_ns`, the low-water mark, is there. It also plays
    when no further segment would fit into `capacity_ns`, and when all segments are there. During `pauses`,
    pairs of when they begin and end, rising and apart, it stands still by the viewer's wish: the buffer
    fills on, and running dry is no matter.
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
        pauses: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._clock_ns = start_ns
        self._capacity_ns = capacity_ns
        self._needed_ns = startup_ns
        self._resume_ns = resume_ns
        self._segment_ns = segment_ns
        self._segments = segments
        self._missing = segments
        self._pauses = tuple(pauses)
        self._held: deque[tuple[int, int]] = deque()  # (kbit/s, ns), the next to play first
        self._level_ns = 0
        self._next_event = "startup"
        self._waiting_since_ns: int | None = start_ns
        self.played_ns = 0
        self.played_kbit = 0.0

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when the viewer has been waiting for video, at the last time given; None: it plays."""
        return self._waiting_since_ns

    def level_ns(self, now_ns: int) -> int:
        """The video left in the buffer at `now_ns`, without moving on."""
        if self._waiting_since_ns is not None:
            return self._level_ns
        return max(0, self._level_ns - self._playing_ns(self._clock_ns, now_ns))

    def position_ns(self, now_ns: int) -> int:
        """What of the title plays at `now_ns`, as a time from its beginning."""
        return (self._segments - self._missing) * self._segment_ns - self.level_ns(now_ns)

    def advance(self, now_ns: int) -> list[Moment]:
        """Play up to `now_ns`; the pauses and the stall or the finish on the way there, in order."""
        began_ns = self._clock_ns
        if now_ns < began_ns:
            raise ValueError(f"time goes back by {began_ns - now_ns} ns")
        moments = self._pausing(began_ns, now_ns)
        self._clock_ns = now_ns
        if self._waiting_since_ns is not None:
            return moments
        elapsed_ns = self._playing_ns(began_ns, now_ns)
        left_ns = self._level_ns - elapsed_ns
        if left_ns > 0 or (left_ns == 0 and self._missing):
            self._play(elapsed_ns)
            return moments
        dry_ns = self.at_ns(began_ns, self._level_ns)
        self._play(self._level_ns)
        self._waiting_since_ns = dry_ns
        moments.append(Moment("stall" if self._missing else "finish", dry_ns, 0))
        return sorted(moments, key=lambda moment: moment.unix_ns)

    def receive(self, now_ns: int, kbps: int = 0) -> list[Moment]:
        """Play up to `now_ns`, at which one more segment is there; what that brought about."""
        if not self._missing:
            raise ValueError("every segment is there already")
        moments = self.advance(now_ns)
        self._held.append((kbps, self._segment_ns))
        self._level_ns += self._segment_ns
        self._missing -= 1
        if self._waiting_since_ns is not None and self._enough():
            self._waiting_since_ns = None
            self._needed_ns = self._resume_ns
            moments.append(Moment(self._next_event, now_ns, self._level_ns))
            self._next_event = "resume"
        return moments

    def seek(self, now_ns: int, index: int) -> list[Moment]:
        """Play up to `now_ns`, throw the buffer away and wait for the segment `index`; that is no stall."""
        moments = self.advance(now_ns)
        self._held.clear()
        self._level_ns, self._missing = 0, self._segments - index
        if self._next_event != "startup":
            self._next_event = "seeked"
        self._waiting_since_ns = now_ns
        return moments

    def room_at_ns(self, now_ns: int, ceiling_ns: int | None = None) -> int:
        """When the next segment fits, and no more than `ceiling_ns` of video is left: `now_ns` or later.

        The ceiling does not count while video is waited for: nothing would ever bring the level down to it.
        """
        most_ns = self._capacity_ns - self._segment_ns
        if ceiling_ns is not None and self._waiting_since_ns is None:
            most_ns = min(most_ns, ceiling_ns)
        return self.at_ns(now_ns, max(0, self.level_ns(now_ns) - most_ns))

    def at_ns(self, now_ns: int, playing_ns: int) -> int:
        """When so much will have been played from `now_ns` on, pauses left out, if nothing runs dry."""
        at_ns = now_ns + playing_ns
        for start_ns, end_ns in self._pauses:
            if playing_ns and now_ns < end_ns and start_ns < at_ns:
                at_ns += end_ns - max(start_ns, now_ns)
        return at_ns

    def _playing_ns(self, start_ns: int, end_ns: int) -> int:
        """How much of a time is no pause."""
        overlaps = (min(end_ns, end) - max(start_ns, start) for start, end in self._pauses)
        return end_ns - start_ns - sum(max(0, overlap) for overlap in overlaps)

    def _pausing(self, start_ns: int, end_ns: int) -> list[Moment]:
        """The pauses that begin or end after `start_ns` and by `end_ns`."""
        return [
            Moment(event, at_ns, self.level_ns(at_ns))
            for pause in self._pauses
            for event, at_ns in zip(("pause", "unpause"), pause, strict=True)
            if start_ns < at_ns <= end_ns
        ]

    def _play(self, playing_ns: int) -> None:
        self._level_ns -= playing_ns
        self.played_ns += playing_ns
        while playing_ns:
            kbps, held_ns = self._held.popleft()
            now_ns = min(held_ns, playing_ns)
            self.played_kbit += kbps * now_ns / 1e9
            playing_ns -= now_ns
            if held_ns > now_ns:
                self._held.appendleft((kbps, held_ns - now_ns))

    def _enough(self) -> bool:
        full = self._level_ns + self._segment_ns > self._capacity_ns
        return self._level_ns >= self._needed_ns or full or not self._missing
