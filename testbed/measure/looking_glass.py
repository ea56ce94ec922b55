"""What a router had heard of a prefix at a moment of a run, from whom, and which of it was in force."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from testbed.measure.forwarding import Address, Forwarding, Network, Route

if TYPE_CHECKING:
    from testbed.measure.query import Tables

_HEARD = """
    select kind, flow_id, path_id, peer, prefix, as_path, next_hop, origin, med, local_pref, communities, t_ns
    from bgp where node = ? and kind in ('announce', 'withdraw') and t_ns <= ?
"""
# Whoever of the two says so ends a session, and with it all that was said on it.
_ENDED = """
    select distinct flow_id from bgp
    where (node = $1 or peer = $1) and kind in ('closed', 'notification') and t_ns <= $2
"""


@dataclass(frozen=True)
class Path:
    """A way to a prefix as a neighbour had announced it, before any filter of ours."""

    peer: str
    prefix: str
    as_path: str
    next_hop: str
    origin: str | None
    med: int | None
    local_pref: int | None
    communities: list[str]
    since_ns: int
    reachable: bool = False  # its next hop was
    in_force: bool = False  # packets were forwarded by it


@dataclass(frozen=True)
class View:
    """A router's view of a prefix: its route, None if it had none, and what its neighbours had announced."""

    node: str
    prefix: Network
    at_ns: int
    route: Route | None
    paths: tuple[Path, ...]


def view(tables: Tables, node: str, asked: Address | Network, at_ns: int) -> View:
    """What a router had for a prefix, or for the longest prefix that an address is in.

    Its neighbours' announcements are those of the captured sessions that were still up. Which is in force is
    told by where its next hop leads in the forwarding table: of several that lead the same way, the one of
    the shortest AS path. A session that graceful restart had outlived counts as ended.
    """
    forwarding = Forwarding(tables, node)
    heard = _heard(tables, node, at_ns)
    if isinstance(asked, Network):
        prefix = asked
    else:
        known = {each.prefix for each in forwarding.table(node, at_ns)} | {
            ip_network(path.prefix) for path in heard
        }
        inside = [each for each in known if each.version == asked.version and asked in each]
        prefix = max(inside, key=lambda each: each.prefixlen, default=ip_network(asked))
    route = forwarding.route(node, prefix, at_ns)
    left: set[tuple[str, str] | None] = set(zip(route.via, route.link, strict=True)) if route else set()
    told: list[Path] = []
    paths = (path for path in heard if ip_network(path.prefix) == prefix)
    for path in sorted(paths, key=lambda path: (len(path.as_path.split()), path.peer)):
        way = _way(forwarding, node, path.next_hop, at_ns)
        told.append(replace(path, reachable=way is not None, in_force=way in left))
        left.discard(way)
    told.sort(key=lambda path: not path.in_force)
    return View(node, prefix, at_ns, route, tuple(told))


def _heard(tables: Tables, node: str, at_ns: int) -> list[Path]:
    """Every neighbour's last word on every prefix, of sessions that were still up."""
    ended = {flow for (flow,) in tables.sql(_ENDED, node, at_ns)}
    last: dict[tuple[int, int | None, str], Path | None] = {}
    for kind, flow, number, *said in tables.sql(_HEARD, node, at_ns):
        if flow not in ended:
            path = Path(*said)
            last[flow, number, path.prefix] = path if kind == "announce" else None
    return [path for path in last.values() if path is not None]


def _way(forwarding: Forwarding, node: str, next_hop: str, at_ns: int) -> tuple[str, str] | None:
    """The gateway and link that a next hop, not always a neighbour (RFC 4271, 5.1.3), is reached by."""
    found = forwarding.lookup(node, ip_address(next_hop), at_ns)
    if found is None or not found.via:
        return None
    return found.via[0] or next_hop, found.link[0]
