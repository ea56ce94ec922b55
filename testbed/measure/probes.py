"""What became of every probe: its way, link by link, and where that ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from testbed.job import PROBED_PORT, PROBES_APART

if TYPE_CHECKING:
    from testbed.measure.query import Tables

_SEEN = """
    select t_ns, node, link, direction, length, src, dst from packets
    where proto = 'udp' and sport = ? and dport = ? and t_ns >= 0 order by t_ns, ttl desc
"""
_HEADERS = {4: 14 + 20 + 8, 6: 14 + 40 + 8}  # Ethernet, IP and UDP

Row = dict[str, Any]


def probes(tables: Tables) -> Iterator[Row]:
    """A row for each probe that was due, whether it left its sender or not."""
    job = tables.job
    if not job.probes:
        return
    ways: dict[tuple[str, str, int], list[tuple[int, str, str]]] = defaultdict(list)
    for t_ns, node, link, direction, length, src, dst in tables.sql(_SEEN, PROBED_PORT, PROBED_PORT):
        shown = length - _HEADERS[6 if ":" in src else 4]
        latest = t_ns // job.probe_every_ns
        number = latest - (latest - shown) % PROBES_APART
        ends = job.link(link)
        to = node if direction == "in" else ends.b if ends.a == node else ends.a
        ways[src, dst, number].append((t_ns, link, to))
    due = range(-(-job.duration_ns // job.probe_every_ns))
    for probe in job.probes:
        for number in due:
            way = ways.get((probe.source, probe.address, number), [])
            steps = [(link, to) for _, link, to in way]
            sent_ns = number * job.probe_every_ns
            yield {
                "t_ns": sent_ns, "number": number, "node": probe.node, "prefix": probe.prefix,
                "address": probe.address, "ended": steps[-1][1] if steps else probe.node,
                "took_ns": way[-1][0] - sent_ns if way else None, "links": [link for link, _ in steps],
                "loop": len({*steps}) < len(steps),
            }  # fmt: skip
