"""TCP on what was struck: connections end, segments are sent again, timers back off (RFC 6298)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from testbed.aftermath import Stage, Step, Struck

# The packets, from the fault on, of connections over the links struck, or of the node struck, that were there
# when it was; who sent each by name. $1 fault, $2 until, $3 links, $4 node, $5 addresses, $6 whose they are.
_PACKETS = """
    struck_flows as (
        select flow_id from flows where proto = 'tcp' and start_ns < $1 and end_ns >= $1
        group by flow_id having bool_or(list_contains($3, link) or client = $4 or server = $4)
    ), sent as (
        select coalesce(list_extract($6, list_position($5, src)), src) as sender, packets.*
        from packets join struck_flows using (flow_id) where t_ns >= $1 - 1000000000 and t_ns < $2
    )
"""
_ENDS = """
    with {packets} select sender, min(t_ns), max(t_ns), count(distinct flow_id), arg_min(flow_id, t_ns)
    from sent where t_ns >= $1 and tcp_flags & $7 > 0 group by sender order by min(t_ns), sender
"""
_AGAIN = """
    with {packets} select sender, min(t_ns), max(t_ns), count(distinct (flow_id, tcp_seq)),
        count(distinct flow_id), arg_min(flow_id, t_ns), arg_min(node, t_ns)
    from sent where t_ns >= $1 and retransmission group by sender order by min(t_ns), sender
"""
# One segment that was sent at least three times: the timer ran out, doubled, and ran out again.
_TIMEOUTS = """
    with {packets}, tries as (
        select sender, flow_id, tcp_seq, node, interface, count(*) as times,
               list(t_ns order by t_ns) as sent_ns
        from sent where tcp_len > 0 group by all having count(*) > 2
    ) select sender, min(sent_ns[2]), max(sent_ns[-1]), count(distinct flow_id), max(times),
        arg_max(sent_ns, times), arg_max(flow_id, times)
    from tries where sent_ns[2] >= $1 group by sender order by 2, sender
"""
# The first acknowledgement, at the same capture point, of what was sent again first; sequence numbers wrap.
_RECOVERED = """
    with {packets}, again as (
        select sender, flow_id, node, interface, src, min(t_ns) as since_ns, arg_min(tcp_seq, t_ns) as seq
        from sent where t_ns >= $1 and retransmission group by all
    ), acknowledged as (
        select again.sender, flow_id, since_ns, min(t_ns) as at_ns
        from again join sent using (flow_id, node, interface)
        where sent.src <> again.src and t_ns > since_ns and tcp_flags & 4 = 0 and tcp_flags & 16 > 0
            and (tcp_ack::bigint - seq + 4294967296) % 4294967296 between 1 and 2147483647
        group by again.sender, flow_id, node, interface, since_ns
    ), first as (
        select sender, flow_id, min(at_ns) as at_ns, min(since_ns) as since_ns from acknowledged group by all
    ) select sender, min(at_ns), max(at_ns), count(*), arg_min(flow_id, at_ns), max(at_ns - since_ns)
    from first group by sender order by 2, sender
"""


class Tcp(Stage):
    """The first reset, segment sent again, timer that backed off, and its acknowledgement after that."""

    kind = "tcp"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each sender and kind."""
        for flag, verb in ((4, "resets"), (1, "closes")):
            for sender, first_ns, last_ns, count, flow in self._asked(struck, _ENDS, flag):
                if flag == 1 and sender != struck.node:
                    continue  # only the one struck closes for that reason
                sight = struck.sights("t_ns = ? and flow_id = ? and tcp_flags & ? > 0", first_ns, flow, flag)
                yield self._step(sender, f"{verb} {_connections(count)}", sight, first_ns, last_ns, count)
        for sender, first_ns, last_ns, segments, flows, flow, node in self._asked(struck, _AGAIN):
            what = f"sends {segments} segment{'s' * (segments > 1)} of {_connections(flows)} again"
            here = "t_ns = ? and flow_id = ? and node = ? and retransmission"
            sight = struck.sights(here, first_ns, flow, node)
            yield self._step(sender, what, sight, first_ns, last_ns, segments)
        for sender, first_ns, last_ns, flows, times, sent_ns, flow in self._asked(struck, _TIMEOUTS):
            gaps = " ".join(f"{(b - a) / 1e9:.3g}" for a, b in pairwise(sent_ns))
            what = f"backs off on {_connections(flows)}: one segment sent {times} times, {gaps} s apart"
            sight = struck.sights("t_ns = ? and flow_id = ?", sent_ns[1], flow)
            yield self._step(sender, what, sight, first_ns, last_ns, flows)

        for sender, first_ns, last_ns, flows, flow, longest_ns in self._asked(struck, _RECOVERED):
            what = (
                f"is acknowledged again on {_connections(flows)}; the longest wait {longest_ns / 1e9:.3g} s"
            )
            sight = struck.sights("t_ns = ? and flow_id = ?", first_ns, flow)
            yield self._step(sender, what, sight, first_ns, last_ns, flows)

    def _asked(self, struck: Struck, query: str, *more: object) -> list[tuple[Any, ...]]:
        return struck.tables.sql(
            query.format(packets=_PACKETS), struck.at_ns, struck.until_ns, list(struck.links), struck.node,
            list(struck.names), list(struck.names.values()), *more,
        )  # fmt: skip

    def _step(self, sender: str, what: str, sight: Any, first_ns: int, last_ns: int, count: int) -> Step:
        return Step(self.kind, first_ns, sender, what, sight, count, last_ns if last_ns > first_ns else None)


def _connections(count: int) -> str:
    return "a connection" if count == 1 else f"{count} connections"
