"""Packets to a place leave a node by another link than before: its forwarding has changed."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_BEFORE_NS = 20_000_000_000
# Where each node sends what goes to an address; of a link's two ends the sender may be the other one.
# $1 from, $2 when ways may change, $3 until, $4 the routers.
_CHANGES = """
    with sent as (
        select t_ns, dst, link, case
            when direction = 'out' then node
            when split_part(link, '--', 1) = node then split_part(link, '--', 2)
            else split_part(link, '--', 1) end as sender
        from packets where t_ns >= $1 and t_ns < $3 and flow_id is not null
    ), ways as (
        select sender, dst, link, min(t_ns) filter (t_ns >= $2) as first,
               count(*) filter (t_ns < $2) as before
        from sent group by all
    ), moved as (
        select sender, dst, list(link order by link) filter (before > 0) as old
        from ways group by all having bool_or(before > 0)
    ) select sender, any_value(old), link, min(first), max(first), count(*), arg_min(dst, first)
    from ways join moved using (sender, dst) where before = 0 and list_contains($4, sender)
    group by sender, link order by min(first), sender, link
"""


class Forwarding(Stage):
    """The first packet that a router sends by a way it did not use before."""

    kind = "forwarding"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each router and new link, with how many destinations moved: away, and back again."""
        yield from self._moved(struck, struck.at_ns - _BEFORE_NS, struck.at_ns, struck.ended_ns)
        yield from self._moved(struck, struck.at_ns, struck.ended_ns, struck.until_ns)

    def _moved(self, struck: Struck, since_ns: int, now_ns: int, until_ns: int) -> Iterator[Step]:
        routers = [node.name for node in struck.job.nodes if node.forwards]
        for sender, links, link, first_ns, last_ns, count, dst in struck.tables.sql(
            _CHANGES, since_ns, now_ns, until_ns, routers
        ):
            to = struck.names.get(dst, dst)
            more = f" and {count - 1} more" if count > 1 else ""
            what = f"sends what goes to {to}{more} by {link}, no longer by {', '.join(links)}"
            sight = struck.sights("t_ns = ? and link = ? and dst = ?", first_ns, link, dst)
            yield Step(
                self.kind, first_ns, sender, what, sight, count, last_ns if last_ns > first_ns else None
            )
