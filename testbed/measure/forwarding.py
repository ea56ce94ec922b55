"""Every node's forwarding table at any moment of a run, from the changes that were written down."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from testbed.job import Interface, Job
from testbed.measure.points import owners

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
        self._covering: dict[
            tuple[str, Address], list[Network]
        ] = {}  # prefixes an address is in, longest first
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

    def moments(self, prefix: Network, since_ns: int, until_ns: int) -> list[int]:
        """When any node's routes changed that decide on packets to a prefix, after `since_ns`."""
        found = set()
        for prefixes in self._history.values():
            for other, metrics in prefixes.items():
                if other.version == prefix.version and other.overlaps(prefix):
                    found |= {t_ns for each in metrics.values() for t_ns, _ in each}
        return sorted(t_ns for t_ns in found if since_ns < t_ns < until_ns)

    def table(self, node: str, at_ns: int) -> Iterator[Route]:
        """All that a node had, by prefix."""
        for prefix in sorted(self._history.get(node, {}), key=_by_number):
            if (found := self.route(node, prefix, at_ns)) is not None:
                yield found

    def lookup(self, node: str, address: Address, at_ns: int) -> Route | None:
        """The route of the longest prefix that an address is in (RFC 1812, section 5.2.4.3)."""
        known = self._covering.get((node, address))
        if known is None:
            inside = (each for each in self._history.get(node, {}) if address in each)
            known = self._covering[node, address] = sorted(inside, key=lambda each: -each.prefixlen)
        return next((found for each in known if (found := self.route(node, each, at_ns)) is not None), None)


def _way(route: Route | None) -> tuple[object, ...] | None:
    return None if route is None else (route.kind, route.via, route.link)


def _by_number(prefix: Network) -> tuple[int, bytes, int]:
    return prefix.version, prefix.network_address.packed, prefix.prefixlen


def _order(route: Route | None) -> tuple[int, bytes, int]:
    assert route is not None
    return _by_number(route.prefix)


class Ends:
    """Who is met under which address on which link: also under link-local ones, which follow from MACs."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._owners = owners(job)
        self._local = {
            _link_local(interface.mac): (node.name, interface)
            for node in job.nodes
            for interface in node.interfaces
        }

    @property
    def addresses(self) -> list[str]:
        """All addresses that a node has."""
        return list(self._owners)

    def owner(self, address: str) -> str | None:
        """The node that has an address."""
        return self._owners.get(address)

    def at(self, address: str, link: str) -> tuple[str, Interface] | None:
        """The node, and its interface on the link or the LAN behind it, that a gateway's address is of."""
        if address in self._local:
            return self._local[address]
        node = self._owners.get(address)
        if node is None:
            return None
        for interface in self._job.node(node).interfaces:
            own = [each.partition("/")[0] for each in (interface.address, interface.address6)]
            if interface.link == link or address in own:
                return node, interface
        return None


def _link_local(mac: str) -> str:
    """The IPv6 address that an interface gives itself (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + identifier))
