"""BGP sessions close, prefixes are withdrawn and announced, and sessions come back."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_TOLD = """
    select node, peer, kind, min(t_ns), max(t_ns), count(distinct coalesce(prefix, '')),
           arg_min(prefix, t_ns), arg_min(as_path, t_ns), arg_min(reason, t_ns)
    from bgp
    where t_ns >= ? and t_ns <= ? and kind in ('closed', 'notification', 'withdraw', 'announce', 'open')
    group by node, peer, kind, t_ns >= ? order by min(t_ns), node, peer, kind
"""
_CLOSING = ("closed", "notification")


class Bgp(Stage):
    """What each router heard from each of its peers by BGP."""

    kind = "bgp"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each kind of message between two routers: the first while it is struck, and after."""
        for node, peer, kind, first_ns, last_ns, prefixes, prefix, path, reason in struck.tables.sql(
            _TOLD, struck.at_ns, struck.until_ns, struck.ended_ns
        ):
            here, there = struck.names.get(node, node), struck.names.get(peer, peer)
            if kind == "closed":
                what = f"the session with {there} is closed"
            elif kind == "notification":
                what = f"{there} ends the session: {reason or 'NOTIFICATION'}"
            elif kind == "open":
                what = f"{there} opens a session"
            elif kind == "withdraw":
                what = f"{there} withdraws {_prefixes(prefixes, prefix)}"
            else:
                what = f"{there} announces {_prefixes(prefixes, prefix)}{f', AS path {path}' if path else ''}"
            sight = struck.sights("t_ns = ? and (sport = 179 or dport = 179)", first_ns)
            many = prefixes if kind in ("withdraw", "announce") else 1
            yield Step(self.kind, first_ns, here, what, sight, many, last_ns if last_ns > first_ns else None)


def _prefixes(count: int, first: str) -> str:
    return first if count == 1 else f"{first} and {count - 1} more"
