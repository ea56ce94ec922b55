"""Requests fail, and the first bytes come again, from whomever."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_FAILED = """
    select oca, error, min(t_ns + coalesce(total_ns, 0)), max(t_ns + coalesce(total_ns, 0)), count(*),
           count(distinct session_id), arg_min(client, t_ns)
    from requests where t_ns + coalesce(total_ns, 0) >= ? and t_ns < ? and error <> ''
    group by oca, error order by 3, oca, error
"""
# Of each session, the first answer that began to come after its first request that failed.
_AGAIN = """
    with failed as (
        select session_id, min(t_ns + coalesce(total_ns, 0)) as since from requests
        where t_ns + coalesce(total_ns, 0) >= ? and t_ns < ? and error <> '' group by session_id
    ), again as (
        select session_id, any_value(since) as since, min(t_ns + first_byte_ns) as byte,
               arg_min(client, t_ns) as client, arg_min(oca, t_ns) as oca,
               arg_min(request_id, t_ns) as request
        from requests join failed using (session_id)
        where t_ns >= since and error = '' and oca <> 'steering' and first_byte_ns > 0 and t_ns < ?
        group by session_id
    ) select oca, min(byte), max(byte), count(*), max(byte - since), arg_min(client, byte),
        arg_min(request, byte)
    from again group by oca order by 2, oca
"""


class Requests(Stage):
    """The first request that failed, and the first byte after it."""

    kind = "requests"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each server and error, and one for each server that helped out."""
        span = (struck.at_ns, struck.until_ns)
        for oca, error, first_ns, last_ns, count, sessions, client in struck.tables.sql(_FAILED, *span):
            what = f"fail{'s' * (count == 1)} at {oca}: {error}"
            who = f"{count} request{'s' * (count > 1)} of {sessions} session{'s' * (sessions > 1)}"
            yield Step(
                self.kind,
                first_ns,
                client,
                f"{who} {what}",
                (),
                count,
                last_ns if last_ns > first_ns else None,
            )
        for oca, first_ns, last_ns, count, slowest_ns, client, request in struck.tables.sql(
            _AGAIN, *span, struck.until_ns
        ):
            addresses = [
                address
                for node in struck.job.nodes
                if node.name == client
                for address in (node.address, node.address6)
                if address
            ]
            sight = struck.sights(
                "list_contains(?, dst) and sport = 443 and tcp_len > 0 and t_ns <= ? and node = ?",
                addresses, first_ns, client, last=True,
            )  # fmt: skip
            more = f" and {count - 1} more" if count > 1 else ""
            what = f"has bytes again{more}, from {oca} ({request}); the longest gap {slowest_ns / 1e9:.3f} s"
            yield Step(
                self.kind, first_ns, client, what, sight, count, last_ns if last_ns > first_ns else None
            )
