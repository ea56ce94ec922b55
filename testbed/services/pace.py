"""A player may ask for no more than it needs: a pace by its buffer, as in Sammy.

Spang et al., "Sammy: smoothing video traffic to be a friendly internet neighbor", SIGCOMM 2023: some times
the title's top bitrate while the buffer is empty, so that playing starts at once, and less the more is there.
It goes with each request as `X-Pace`, in bytes a second, which nginx takes for a limit of its own (the `rtp`
of CTA-5004 says the same in kbit/s, which nginx cannot multiply).
"""

from __future__ import annotations

from testbed.job import Session, Title


def headers(session: Session, title: Title, level_ns: int) -> tuple[str, ...]:
    """What a session's request for a segment of a title says with so much in the buffer; maybe nothing."""
    if not session.pace:
        return ()
    empty, full = session.pace
    filled = min(1.0, level_ns / session.buffer_ns)
    return (f"X-Pace: {round(title.bitrates_kbps[-1] * 125 * (empty + (full - empty) * filled))}",)
