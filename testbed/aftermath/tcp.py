"""TCP on what was struck: connections end, segments are sent again, timers back off (RFC 6298)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from testbed.aftermath import Sight, Stage, Step, Struck

# Connections over the links struck, or of the node struck, that were there when it was, with the capture
# point at which most of each was seen: nearest to a sender, where what is sent again is known for sure.
_FLOWS = """
    struck_flows as (
        select flow_id, client, server from flows
        where proto = 'tcp' and start_ns < ? and end_ns >= ?
        group by all having bool_or(list_contains(?, link) or client = ? or server = ?)
    )
"""
_RESETS = """
    with {flows} select src, min(t_ns), max(t_ns), count(distinct flow_id), arg_min(flow_id, t_ns)
    from packets join struck_flows using (flow_id)
    where t_ns >= ? and t_ns < ? and tcp_flags & ? > 0 group by src order by min(t_ns), src
"""
_AGAIN = """
    with {flows} select src, min(t_ns), max(t_ns), count(distinct flow_id),
        count(distinct (flow_id, tcp_seq)), arg_min(flow_id, t_ns), arg_min(node, t_ns)
    from packets join struck_flows using (flow_id)
    where t_ns >= ? and t_ns < ? and retransmission group by src order by min(t_ns), src
"""
# One segment that was sent at least three times: the timer ran out, doubled, and ran out again.
_TIMEOUTS = """
    with {flows}, sent as (
        select src, flow_id, tcp_seq, node, interface, count(*) as times, list(t_ns order by t_ns) as sent_ns
        from packets join struck_flows using (flow_id)
        where t_ns >= ? - 1000000000 and t_ns < ? and tcp_len > 0 group by all having count(*) > 2
    ) select src, min(sent_ns[2]), max(sent_ns[-1]), count(distinct flow_id), max(times),
        arg_max(sent_ns, times), arg_max(flow_id, times)
    from sent where sent_ns[2] >= ? group by src order by 2, src
"""


class Tcp(Stage):
    """The first reset, the first segment sent again, and the first timer that backed off."""

    kind = "tcp"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each sender and kind."""
        given = (struck.at_ns, struck.at_ns, list(struck.links), struck.node, struck.node)
        span = (struck.at_ns, struck.until_ns)
        for flag, verb in ((4, "resets"), (1, "closes")):
            for src, first_ns, last_ns, count, flow in struck.tables.sql(
                _RESETS.format(flows=_FLOWS), *given, *span, flag
            ):
                if flag == 1 and struck.names.get(src) != struck.node:
                    continue  # only the one struck closes for that reason
                sight = struck.sights("t_ns = ? and flow_id = ? and src = ?", first_ns, flow, src)
                what = f"{verb} {_connections(count)}"
                yield self._step(struck, src, what, sight, first_ns, last_ns, count)
        for src, first_ns, last_ns, flows, segments, flow, node in struck.tables.sql(
            _AGAIN.format(flows=_FLOWS), *given, *span
        ):
            what = f"sends {segments} segment{'s' * (segments > 1)} of {_connections(flows)} again"
            sight = struck.sights(
                "t_ns = ? and flow_id = ? and node = ? and retransmission", first_ns, flow, node
            )
            yield self._step(struck, src, what, sight, first_ns, last_ns, segments)
        for src, first_ns, last_ns, flows, times, at, flow in struck.tables.sql(
            _TIMEOUTS.format(flows=_FLOWS), *given, *span, struck.at_ns
        ):
            gaps = " ".join(f"{(b - a) / 1e9:.3g}" for a, b in pairwise(at))
            what = f"backs off on {_connections(flows)}: one segment sent {times} times, {gaps} s apart"
            sight = struck.sights("t_ns = ? and flow_id = ?", at[1], flow)
            yield self._step(struck, src, what, sight, first_ns, last_ns, flows)

    def _step(
        self,
        struck: Struck,
        src: str,
        what: str,
        sight: tuple[Sight, ...],
        first_ns: int,
        last_ns: int,
        count: int,
    ) -> Step:
        where = struck.names.get(src, src)
        return Step(self.kind, first_ns, where, what, sight, count, last_ns if last_ns > first_ns else None)


def _connections(count: int) -> str:
    return "a connection" if count == 1 else f"{count} connections"
