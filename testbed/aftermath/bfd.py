"""BFD hears nothing any more, long before BGP's hold time runs out (RFC 5880, RFC 5881)."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_MULTIPLIER = 3  # detection takes so many missing packets (RFC 5880, 6.8.4)
_USUAL_NS = 10_000_000_000  # how long before the fault is looked at for what is usual
# The first gap of each sender over each link that is too long; $1 from, $2 fault, $3 until, $4 multiplier.
_SILENCES = """
    with heard as (
        select t_ns, link, src,
               coalesce(lead(t_ns) over (partition by link, src order by t_ns), $3) - t_ns as gap
        from packets where proto = 'udp' and dport in (3784, 4784) and t_ns >= $1 and t_ns < $3
    ), usual as (select link, src, median(gap) as usual from heard where t_ns < $2 group by all)
    select link, src, min(t_ns), any_value(usual) from heard join usual using (link, src)
    where gap > $4 * usual and t_ns >= $2 - usual group by link, src order by min(t_ns), link, src
"""


class Bfd(Stage):
    """The last BFD packet of a session before its detection time ran out."""

    kind = "bfd"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each direction of a session that fell silent."""
        for link, src, last_ns, usual in struck.tables.sql(
            _SILENCES, struck.at_ns - _USUAL_NS, struck.at_ns, struck.until_ns, _MULTIPLIER
        ):
            heard = "link = ? and src = ? and dport in (3784, 4784) and t_ns = ?"
            who, detection_ms = struck.names.get(src, src), _MULTIPLIER * usual / 1e6
            what = f"BFD of {who} falls silent; detection takes {detection_ms:g} ms"
            sight = struck.sights(heard, link, src, last_ns)
            yield Step(self.kind, max(last_ns, struck.at_ns), link, what, sight)
