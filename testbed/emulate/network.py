"""The emulated network: a namespace a node, a veth pair a link, and what faults may do to them.

Shapes, link states and processes can be changed only through the context managers here, which keep
every change in force as a layer and render all layers of a thing together. So overlapping faults
may end in any order, and what is left after the last one is what was there before the first.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2.netlink.rtnl import ifaddrmsg, ifinfmsg, rtmsg

from testbed import namespaces
from testbed.emulate import shaping
from testbed.emulate.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Netlink
from testbed.emulate.processes import Processes
from testbed.faults import State, layered
from testbed.job import Job, Link, Node, Shape

RTM_NEWLINK, RTM_SETLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 19, 18, 20, 24, 26
IFF_UP = 1
_PERMANENT, _STATIC, _UNICAST, _MAIN = 0x80, 4, 1, 254
_MTU = 1500
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_SYSCTLS = {
    # one hop's answer must not depend on another interface's, and replies leave where routes say
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv4/ip_no_pmtu_disc": "0",
}


class Network:
    """A running network; it is what a fault is given as `net`."""

    def __init__(self, job: Job, logs: Path, nodes: Path) -> None:
        self.job = job
        self.processes = Processes(job, self.namespace, logs, nodes)
        self._namespaces: dict[str, int] = {}
        self._sockets: dict[str, Netlink] = {}
        self._indexes: dict[tuple[str, str], int] = {}
        self._layers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._downs: dict[str, int] = {}

    def namespace(self, node: str) -> int:
        """The file descriptor that holds a node's namespace open."""
        return self._namespaces[node]

    def index(self, node: str, interface: str) -> int:
        """The kernel's number of an interface in its node's namespace."""
        return self._indexes[node, interface]

    def build(self) -> None:
        """Make every node and link of the job; NetlinkError says what the kernel refused."""
        for node in self.job.nodes:
            self._namespaces[node.name] = namespaces.create()
            with namespaces.inside(self._namespaces[node.name]):
                self._sockets[node.name] = Netlink()
                for name, value in _SYSCTLS.items():
                    Path("/proc/sys", name).write_text(value)
                if node.forwards:
                    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        # asked from outside all nodes: the kernel refuses a name that exists where the question comes from
        outside = Netlink()
        outside.ask(*(self._pair(link) for link in self.job.links))
        outside.close()
        for node in self.job.nodes:
            self._configure(node)

    def _pair(self, link: Link) -> ifinfmsg.ifinfmsg:
        a, b = (
            next(i for i in self.job.node(name).interfaces if i.name == interface)
            for name, interface in ((link.a, link.a_interface), (link.b, link.b_interface))
        )
        peer = {"attrs": [
            ("IFLA_IFNAME", b.name), ("IFLA_ADDRESS", b.mac), ("IFLA_NET_NS_FD", self._namespaces[link.b]),
            ("IFLA_MTU", _MTU), ("IFLA_GSO_MAX_SEGS", 1),
        ]}  # fmt: skip
        return _message(
            ifinfmsg.ifinfmsg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
            ("IFLA_IFNAME", a.name),
            ("IFLA_ADDRESS", a.mac),
            ("IFLA_NET_NS_FD", self._namespaces[link.a]),
            ("IFLA_MTU", _MTU),
            ("IFLA_GSO_MAX_SEGS", 1),
            ("IFLA_LINKINFO", {"attrs": [
                ("IFLA_INFO_KIND", "veth"),
                ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]}),
            ]}),
        )  # fmt: skip

    def _configure(self, node: Node) -> None:
        socket = self._sockets[node.name]
        if node.bridge:
            information = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": [
                ("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0),
            ]})]}  # fmt: skip
            socket.ask(_message(
                ifinfmsg.ifinfmsg, RTM_NEWLINK, NLM_F_CREATE,
                ("IFLA_IFNAME", "br0"), ("IFLA_ADDRESS", _bridge_mac(node)), ("IFLA_LINKINFO", information),
            ))  # fmt: skip
        indexes = _indexes(socket)
        for interface in node.interfaces:
            self._indexes[node.name, interface.name] = indexes[interface.name]
        requests = [_up(indexes["lo"])]
        if node.bridge:
            requests.append(_up(indexes["br0"]))
        for interface in node.interfaces:
            index = indexes[interface.name]
            _own_checksums(socket.fileno(), interface.name)
            master = [("IFLA_MASTER", indexes["br0"])] if node.bridge else []
            requests.extend(shaping.requests(index, interface.shape, self._seed(node.name, interface.name)))
            requests.append(_up(index, *master))
            if interface.address:
                requests.append(_address(index, interface.address))
        requests.extend(_address(indexes["lo"], loopback) for loopback in node.loopbacks)
        requests.extend(_route(route.prefix, route.via) for route in node.routes)
        socket.ask(*requests)

    def _seed(self, node: str, interface: str) -> int:
        text = f"{self.job.seed} {node} {interface}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")

    # What faults may do.

    @contextmanager
    def shaped(self, link: str, direction: str = "both", **change: Any) -> Iterator[None]:
        """Change fields of a link's `Shape` while inside; `direction` is both, forward or backward."""
        found = self.job.link(link)
        ways = [way for way in ("forward", "backward") if direction in ("both", way)]
        for way in ways:
            self._layers.setdefault((found.name, way), []).append(change)
            self._render(found, way)
        try:
            yield
        finally:
            for way in ways:
                layers = self._layers[found.name, way]
                del layers[next(i for i, layer in enumerate(layers) if layer is change)]
                self._render(found, way)

    def _render(self, link: Link, way: str) -> None:
        node, interface = (link.a, link.a_interface) if way == "forward" else (link.b, link.b_interface)
        shape = self.shape(link, way)
        self._sockets[node].ask(*shaping.requests(self._indexes[node, interface], shape))

    def shape(self, link: Link, way: str) -> Shape:
        """The shape in force for one direction, `forward` (a to b) or `backward`."""
        planned = link.a_to_b if way == "forward" else link.b_to_a
        return layered(planned, self._layers.get((link.name, way), []))

    @contextmanager
    def down(self, link: str) -> Iterator[None]:
        """Take both ends of a link down while inside."""
        found = self.job.link(link)
        self._downs[found.name] = self._downs.get(found.name, 0) + 1
        if self._downs[found.name] == 1:
            self._carrier(found, up=False)
        try:
            yield
        finally:
            self._downs[found.name] -= 1
            if self._downs[found.name] == 0:
                self._carrier(found, up=True)

    def _carrier(self, link: Link, *, up: bool) -> None:
        for node, interface in ((link.a, link.a_interface), (link.b, link.b_interface)):
            index = self._indexes[node, interface]
            requests = [_up(index) if up else _down(index)]
            if up:  # the kernel forgets static routes through an interface that goes down
                requests.extend(_route(route.prefix, route.via) for route in self.job.node(node).routes)
            self._sockets[node].ask(*requests)

    @contextmanager
    def stopped(self, node: str, processes: tuple[str, ...] | None = None) -> Iterator[None]:
        """Kill processes of a node (all of them if None) while inside; start them again after."""
        names = processes or tuple(process.name for process in self.job.node(node).processes)
        with self.processes.stopped(node, names):
            yield

    # What can be read.

    def state(self) -> State:
        """All that faults may change, to be compared before and after: links, queues, routes, processes.

        Routes are those the plan sets; what daemons learn may lawfully differ after a fault.
        """
        state: State = {}
        for node in self.job.nodes:
            socket = self._sockets[node.name]
            state[node.name] = {
                "interfaces": sorted(_flags(socket)),
                "queues": sorted(shaping.configured(socket)),
                "routes": sorted(_static_routes(socket)),
                "processes": self.processes.running(node.name),
            }
        return state

    def routes(self) -> str:
        """A digest of every node's forwarding table; it stops changing when routing has converged."""
        digest = hashlib.sha256()
        for node in self.job.nodes:
            for body in sorted(body for _, body in self._sockets[node.name].dump(_route_dump())):
                digest.update(body)
        return digest.hexdigest()

    def counters(self) -> Iterator[tuple[str, str, str, dict[str, int]]]:
        """(link, node, interface, counters) of what leaves every shaped interface."""
        for node in self.job.nodes:
            found = shaping.counters(self._sockets[node.name])
            for interface in node.interfaces:
                yield (
                    interface.link,
                    node.name,
                    interface.name,
                    found[self._indexes[node.name, interface.name]],
                )


def _message(kind: type, number: int, how: int, /, *attributes: tuple[str, Any], **fields: Any) -> Any:
    message = kind()
    message["header"]["type"], message["header"]["flags"] = number, how
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    return message


def _own_checksums(descriptor: int, interface: str) -> None:
    """Have the stack sum what it sends, since no card behind the interface does it (ethtool -K tx off).

    Segmentation is left to no card either: the links are made with room for one segment a packet.
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("@16sP16x", interface.encode(), ctypes.addressof(value))
    fcntl.ioctl(descriptor, _SIOCETHTOOL, request)


def _up(index: int, *attributes: tuple[str, Any]) -> Any:
    return _message(ifinfmsg.ifinfmsg, RTM_NEWLINK, 0, *attributes, index=index, flags=IFF_UP, change=IFF_UP)


def _down(index: int) -> Any:
    return _message(ifinfmsg.ifinfmsg, RTM_NEWLINK, 0, index=index, flags=0, change=IFF_UP)


def _address(index: int, address: str) -> Any:
    host, length = address.split("/")
    return _message(
        ifaddrmsg.ifaddrmsg, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE,
        ("IFA_LOCAL", host), ("IFA_ADDRESS", host),
        family=2, prefixlen=int(length), index=index, flags=_PERMANENT,
    )  # fmt: skip


def _route(prefix: str, via: str) -> Any:
    host, length = prefix.split("/")
    where = [("RTA_DST", host)] if int(length) else []
    return _message(
        rtmsg.rtmsg, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, *where, ("RTA_GATEWAY", via),
        family=2, dst_len=int(length), table=_MAIN, proto=_STATIC, type=_UNICAST, scope=0,
    )  # fmt: skip


def _route_dump() -> Any:
    return _message(rtmsg.rtmsg, RTM_GETROUTE, 0, family=2)


def _links(socket: Netlink) -> Iterator[Any]:
    for _, body in socket.dump(_message(ifinfmsg.ifinfmsg, RTM_GETLINK, 0, family=0)):
        yield _decoded(ifinfmsg.ifinfmsg, body)


def _decoded(kind: type, body: bytes) -> Any:
    message = kind(struct.pack("=IHHII", len(body) + 16, 0, 0, 0, 0) + body)
    message.decode()
    return message


def _indexes(socket: Netlink) -> dict[str, int]:
    return {link.get_attr("IFLA_IFNAME"): link["index"] for link in _links(socket)}


def _flags(socket: Netlink) -> Iterator[tuple[str, int]]:
    for link in _links(socket):
        yield link.get_attr("IFLA_IFNAME"), link["flags"] & IFF_UP


def _static_routes(socket: Netlink) -> Iterator[str]:
    for _, body in socket.dump(_route_dump()):
        protocol = body[5]
        if protocol == _STATIC:
            route = _decoded(rtmsg.rtmsg, body)
            where = route.get_attr("RTA_DST") or "default"
            yield f"{where}/{route['dst_len']} via {route.get_attr('RTA_GATEWAY')}"


def _bridge_mac(node: Node) -> str:
    return node.interfaces[0].mac if node.interfaces else "02:00:00:00:00:01"
