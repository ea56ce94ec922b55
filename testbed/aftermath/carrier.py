"""A link that carried packets carries none while it is struck, and then some again."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_AROUND = """
    select max(t_ns) filter (t_ns < $1), min(t_ns) filter (t_ns >= $2),
           count(*) filter (t_ns >= $1 and t_ns < $2)
    from packets where link = $3
"""
_IN_FLIGHT_NS = 1_000_000_000  # what was on the way when it was struck


class Carrier(Stage):
    """The last packet over a link that went silent, and the first one after."""

    kind = "carrier"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """Two for each link struck on which nothing passed while the fault was in force."""
        for link in struck.links:
            # Packets that were under way may arrive for a moment: at the far end, if that is captured.
            quiet_ns = min(struck.at_ns + _IN_FLIGHT_NS, struck.ended_ns)
            [(last_ns, again_ns, between)] = struck.tables.sql(_AROUND, quiet_ns, struck.ended_ns, link)
            if last_ns is None or between or quiet_ns >= struck.ended_ns:
                continue
            t_ns = max(last_ns, struck.at_ns)
            sight = struck.sights("link = ? and t_ns = ?", link, last_ns)
            yield Step(self.kind, t_ns, link, "carries nothing any more after this packet", sight)
            if again_ns is not None and again_ns <= struck.until_ns:
                sight = struck.sights("link = ? and t_ns = ?", link, again_ns)
                yield Step(self.kind, again_ns, link, "carries packets again, this one first", sight)
