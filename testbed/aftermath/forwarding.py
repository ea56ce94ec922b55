"""Routers come to forward by other links than before, or no longer at all: their tables have changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address

from testbed.aftermath import Sight, Stage, Step, Struck
from testbed.measure.forwarding import Forwarding as Tables
from testbed.measure.forwarding import Route


class Forwarding(Stage):
    """What each router forwards by another link than before, from its kernel's table."""

    kind = "forwarding"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each router and pair of links, while it is struck and after: what moved first."""
        tables = Tables(struck.tables)
        routers = {node.name for node in struck.job.nodes if node.forwards}
        for since_ns, until_ns in ((struck.at_ns, struck.ended_ns), (struck.ended_ns, struck.until_ns)):
            moved: dict[tuple[str, str, str], list[tuple[int, Route]]] = defaultdict(list)
            for t_ns, node, before, after in tables.changes(since_ns, until_ns):
                old, new = _links(before), _links(after)
                route = after or before
                if node in routers and old != new and route is not None:
                    moved[node, old, new].append((t_ns, route))
            for (node, old, new), routes in moved.items():
                first_ns, last_ns, first = routes[0][0], routes[-1][0], routes[0][1]
                more = f" and {len(routes) - 1} more" if len(routes) > 1 else ""
                by = f"by {new}" if new else "nowhere"
                what = f"forwards {first.prefix}{more} {by}{f', no longer by {old}' if old else ''}"
                yield Step(
                    self.kind, first_ns, node, what, _shown(struck, routes, new), len(routes),
                    last_ns if last_ns > first_ns else None,
                )  # fmt: skip


def _links(route: Route | None) -> str:
    """The links that a router forwards by; none if it drops what it gets."""
    return ", ".join(route.link) if route and route.kind == "unicast" else ""


def _shown(struck: Struck, routes: list[tuple[int, Route]], links: str) -> tuple[Sight, ...]:
    """The first packet that one of the links carries to one of the prefixes from then on."""
    since_ns, _ = routes[0]
    prefixes = [route.prefix for _, route in routes]
    places = [text for text in struck.names if any(ip_address(text) in prefix for prefix in prefixes)]
    where = "t_ns >= ? and list_contains(?, link) and list_contains(?, dst)"
    return struck.sights(where, since_ns, links.split(", "), places) if links else ()
