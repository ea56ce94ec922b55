"""Every node's forwarding table at any moment of a run, from the changes that were written down."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from testbed.job import Job

if TYPE_CHECKING:
    from testbed.measure.query import Tables

REMOVED = "removed"

Row = dict[str, Any]
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def name_links(rows: Iterable[Row], job: Job) -> None:
    """Say which link an interface is an end of, in place of the interface."""
    links = {(node.name, each.name): each.link for node in job.nodes for each in node.interfaces}
    for row in rows:
        row["link"] = [links.get((row["node"], name), name) for name in row.pop("interface")]


@dataclass(frozen=True)
class Route:
    """A route of a node as it was for a while."""

    prefix: Network
    kind: str
    via: tuple[str, ...]
    link: tuple[str, ...]
    protocol: str
    metric: int
    since_ns: int


class Forwarding:
    """The forwarding tables of a run, at any of its moments."""

    def __init__(self, tables: Tables, node: str | None = None) -> None:
        """Read the changes, of all nodes or one; each prefix keeps its history, in the order of time."""
        where = "" if node is None else "where node = ?"
        self._history: dict[str, dict[Network, dict[int, list[tuple[int, Route | None]]]]] = defaultdict(dict)
        for t_ns, name, prefix, change, kind, via, link, protocol, metric in tables.sql(
            f"select t_ns, node, prefix, change, kind, via, link, protocol, metric from routes {where}",
            *([] if node is None else [node]),
        ):
            network = ip_network(prefix)
            route = Route(network, kind, tuple(via), tuple(link), protocol, metric, t_ns)
            metrics = self._history[name].setdefault(network, defaultdict(list))
            metrics[metric].append((t_ns, None if change == REMOVED else route))

    @property
    def nodes(self) -> list[str]:
        """The nodes that have a table."""
        return sorted(self._history)

    def route(self, node: str, prefix: Network, at_ns: int) -> Route | None:
        """What a node has for exactly this prefix: of several, that of the least metric."""
        for _, history in sorted(self._history.get(node, {}).get(prefix, {}).items()):
            place = bisect_right(history, at_ns, key=lambda each: each[0])
            if place and (found := history[place - 1][1]) is not None:
                return found
        return None

    def changes(self, since_ns: int, until_ns: int) -> Iterator[tuple[int, str, Route | None, Route | None]]:
        """What each node forwarded a prefix by before and after a moment, from `since_ns` up to `until_ns`.

        In the order of time; what comes to nothing within one instant is left out.
        """
        found = []
        for node, prefixes in self._history.items():
            for prefix, metrics in prefixes.items():
                moments = {
                    t_ns for each in metrics.values() for t_ns, _ in each if since_ns <= t_ns < until_ns
                }
                for t_ns in moments:
                    before, after = (self.route(node, prefix, at) for at in (t_ns - 1, t_ns))
                    if _way(before) != _way(after):
                        found.append((t_ns, node, before, after))
        return iter(sorted(found, key=lambda each: (each[0], each[1], _order(each[2] or each[3]))))

    def table(self, node: str, at_ns: int) -> Iterator[Route]:
        """All that a node had, by prefix."""
        for prefix in sorted(self._history.get(node, {}), key=_by_number):
            if (found := self.route(node, prefix, at_ns)) is not None:
                yield found

    def lookup(self, node: str, address: Address, at_ns: int) -> Route | None:
        """The route of the longest prefix that an address is in (RFC 1812, section 5.2.4.3)."""
        for length in range(address.max_prefixlen, -1, -1):
            prefix = ip_network((address, length), strict=False)
            if (found := self.route(node, prefix, at_ns)) is not None:
                return found
        return None


def _way(route: Route | None) -> tuple[object, ...] | None:
    return None if route is None else (route.kind, route.via, route.link)


def _by_number(prefix: Network) -> tuple[int, bytes, int]:
    return prefix.version, prefix.network_address.packed, prefix.prefixlen


def _order(route: Route | None) -> tuple[int, bytes, int]:
    assert route is not None
    return _by_number(route.prefix)
