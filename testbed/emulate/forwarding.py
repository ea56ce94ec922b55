"""One process hears of every change of every node's forwarding table, and writes each down with its time.

The kernel tells of routes that come and go (rtnetlink(7), RTNLGRP_IPV4_ROUTE and RTNLGRP_IPV6_ROUTE)
without a time; on the virtual clock none passes between a change and its being read. Of the IPv4 routes
that go with an interface it does not tell, and what a full socket has no room for it drops (ENOBUFS):
after either the table is read whole and compared. So what is written down is always a difference.
"""

from __future__ import annotations

import errno
import mmap
import selectors
import socket as sockets
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from testbed import namespaces
from testbed.emulate import attributes
from testbed.emulate.netlink import Netlink, Request
from testbed.emulate.network import Network
from testbed.emulate.processes import Processes
from testbed.job import NODES, OUT, Process
from testbed.services.records import Records

SERVICE = f"{__name__}:run"

PRESENT, ADDED, CHANGED, REMOVED = "present", "added", "changed", "removed"

# Of linux/rtnetlink.h.
_NEWLINK, _DELLINK, _NEWROUTE, _DELROUTE, _GETROUTE = 16, 17, 24, 25, 26
_GROUPS = 0x1 | 0x40 | 0x400  # links, IPv4 routes, IPv6 routes
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst and src lengths, tos, table, protocol, scope, type, flags
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, interface
_U32 = struct.Struct("=I")
_DST, _OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _VIA = 1, 4, 5, 6, 9, 18
_MAIN, _CLONED = 254, 0x200
_KINDS = {1: "unicast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_PROTOCOLS = {
    2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird",
    186: "bgp", 187: "isis", 188: "ospf", 196: "static",
}  # fmt: skip
_BYTES = {sockets.AF_INET: 4, sockets.AF_INET6: 16}
_ROOM = 8 << 20  # bytes of a socket for changes not read yet; they are taken only when needed
_MOST = 64 * 1024

Key = tuple[str, int]  # prefix, metric: two routes to a prefix differ in it


class Entry(NamedTuple):
    """A route as the kernel has it; `ways` are pairs of a gateway (empty: none) and an interface's number."""

    prefix: str
    metric: int
    kind: str
    protocol: str
    ways: tuple[tuple[str, int], ...]


def entry(body: bytes) -> Entry | None:
    """The route that a message is about; None for what is no matter of forwarding to others.

    That is tables other than the main one, what one destination has been told (cloned), link-local and
    multicast prefixes.
    """
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    if table != _MAIN or flags & _CLONED or kind not in _KINDS or family not in _BYTES:
        return None
    found = dict(attributes.unpacked(body[_RTMSG.size :]))
    address = found.get(_DST, bytes(_BYTES[family]))
    if family == sockets.AF_INET6 and (
        address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
    ):
        return None
    metric = _U32.unpack(found[_PRIORITY])[0] if _PRIORITY in found else 0
    if _MULTIPATH in found:
        ways = tuple(_ways(family, found[_MULTIPATH]))
    elif _OIF in found:
        ways = ((_gateway(family, found), _U32.unpack(found[_OIF])[0]),)
    else:
        ways = ()
    if kind != 1:  # IPv6 gives what drops packets an interface, lo
        ways = ()
    prefix = f"{sockets.inet_ntop(family, address)}/{length}"
    return Entry(prefix, metric, _KINDS[kind], _PROTOCOLS.get(protocol, str(protocol)), ways)


def _ways(family: int, data: bytes) -> Iterator[tuple[str, int]]:
    offset = 0
    while offset + _NEXTHOP.size <= len(data):
        length, _, _, interface = _NEXTHOP.unpack_from(data, offset)
        yield (
            _gateway(family, dict(attributes.unpacked(data[offset + _NEXTHOP.size : offset + length]))),
            interface,
        )
        offset += (max(length, _NEXTHOP.size) + 3) & ~3


def _gateway(family: int, found: Mapping[int, bytes]) -> str:
    if _GATEWAY in found:
        return sockets.inet_ntop(family, found[_GATEWAY])
    if _VIA in found:  # of the other family
        (other,) = struct.unpack_from("=H", found[_VIA])
        return sockets.inet_ntop(other, found[_VIA][2:])
    return ""


class Table:
    """The forwarding table of one node, as it was last told."""

    def __init__(self, node: str, names: Mapping[int, str]) -> None:
        self._node, self._names = node, names
        self._routes: dict[Key, Entry] = {}

    def told(self, kind: int, body: bytes) -> Iterator[dict[str, Any]]:
        """The row of a message; none if it says nothing new."""
        route = entry(body)
        if route is None:
            return
        key = route.prefix, route.metric
        before = self._routes.get(key)
        if kind == _DELROUTE:
            # of several ways the kernel may tell one by one that they go
            if before is not None and set(route.ways) >= set(before.ways):
                del self._routes[key]
                yield self._row(REMOVED, before)
            elif before is not None and set(route.ways) & set(before.ways):
                left = before._replace(ways=tuple(way for way in before.ways if way not in route.ways))
                self._routes[key] = left
                yield self._row(CHANGED, left)
        elif route != before:
            self._routes[key] = route
            yield self._row(ADDED if before is None else CHANGED, route)

    def read(self, routes: Mapping[Key, Entry], word: str = ADDED) -> Iterator[dict[str, Any]]:
        """The rows of what differs from the whole table; `word` is for what is new."""
        for key, before in list(self._routes.items()):
            if key not in routes:
                del self._routes[key]
                yield self._row(REMOVED, before)
        for key, route in routes.items():
            known = self._routes.get(key)
            if route != known:
                self._routes[key] = route
                yield self._row(word if known is None else CHANGED, route)

    def _row(self, change: str, route: Entry) -> dict[str, Any]:
        return {
            "node": self._node,
            "prefix": route.prefix,
            "change": change,
            "kind": route.kind,
            "protocol": route.protocol,
            "metric": route.metric,
            "via": [gateway for gateway, _ in route.ways],
            "interface": [self._names.get(index, str(index)) for _, index in route.ways],
        }


class _Watched:
    """A node's table and the socket that tells of it."""

    def __init__(self, node: str, namespace: int, names: Mapping[int, str]) -> None:
        self.node, self._namespace = node, namespace
        self.table = Table(node, names)
        with namespaces.inside(namespace):
            self.socket = sockets.socket(
                sockets.AF_NETLINK, sockets.SOCK_RAW | sockets.SOCK_CLOEXEC, sockets.NETLINK_ROUTE
            )
        self.socket.setsockopt(sockets.SOL_SOCKET, 33, _ROOM)  # SO_RCVBUFFORCE
        self.socket.setblocking(False)
        self.socket.bind((0, _GROUPS))

    def whole(self) -> dict[Key, Entry]:
        """The table as the kernel has it now."""
        with namespaces.inside(self._namespace):
            asked = Netlink()
        found = {}
        for family in _BYTES:
            request = Request(_GETROUTE, 0, _RTMSG.pack(family, *[0] * 8), "tell the routes")
            for _, body in asked.dump(request):
                if (route := entry(body)) is not None:
                    found[route.prefix, route.metric] = route
        asked.close()
        return found

    def heard(self) -> tuple[list[dict[str, Any]], bool]:
        """The rows of all that waits in the socket, and whether some of it was lost."""
        rows: list[dict[str, Any]] = []
        anew = lost = False
        while True:
            try:
                data = self.socket.recv(_MOST)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                anew = lost = True
                continue
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, offset)
                if kind in (_NEWROUTE, _DELROUTE):
                    rows += self.table.told(kind, data[offset + _HEADER.size : offset + length])
                elif kind in (_NEWLINK, _DELLINK):
                    anew = True
                offset += (length + 3) & ~3
        if anew:
            rows += self.table.read(self.whole())
        return rows, lost


def run(config: dict[str, Any]) -> None:
    """Watch the tables of `nodes` ([name, namespace, {number: interface}]) until stopped.

    Rows go to `events`; `last` is shared memory that holds the Unix time in ns of the last change; the file
    `ready` is made when every table has been read for the first time.
    """
    records, last = Records(config["events"]), config["last"]
    with selectors.DefaultSelector() as selector:
        for name, namespace, names in config["nodes"]:
            watched = _Watched(name, namespace, names)
            selector.register(watched.socket, selectors.EVENT_READ, watched)
            records.write_rows("routes", time.time_ns(), watched.table.read(watched.whole(), PRESENT))
        Path(config["ready"]).touch()
        while True:
            rows: list[dict[str, Any]] = []
            for key, _ in selector.select():
                found, lost = key.data.heard()
                rows += found
                if lost:
                    records.write(
                        "events", time.time_ns(), fault=0, kind="routes", target=key.data.node, phase="lost",
                        detail="changes came faster than they were read: their order is not known",
                    )  # fmt: skip
            if rows:
                now = time.time_ns()
                records.write_rows("routes", now, rows)
                _STAMP.pack_into(last, 0, now)


_STAMP = struct.Struct("=Q")


class Forwarding:
    """The watch over a network's forwarding tables, from when it is built."""

    def __init__(self) -> None:
        self._last = mmap.mmap(-1, _STAMP.size)  # shared with the process that watches, which is a fork

    def start(self, network: Network, processes: Processes) -> None:
        """Read every table, and hear of all that changes from now on."""
        ready = Path(NODES, "routes.ready")
        nodes = [
            (node.name, network.namespace(node.name), network.names(node.name))
            for node in network.job.nodes
            if not node.bridge
        ]
        config = {"nodes": nodes, "events": f"{OUT}/events.jsonl", "last": self._last, "ready": str(ready)}
        _STAMP.pack_into(self._last, 0, time.time_ns())
        process = Process(name="routes", service=SERVICE, config=config, ready=f"file:{ready}")
        processes.start_shared(process)

    def last_ns(self) -> int:
        """When any table last changed, in ns of Unix time."""
        return int(_STAMP.unpack_from(self._last)[0])
