"""The emulated network: a namespace a node, a veth pair a link, and what faults may do to them.

Shapes, link states and processes can be changed only through context managers, which keep every
change in force as a layer and render all layers of a thing together. So overlapping faults may end
in any order, and what is left after the last one is what was there before the first.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import ipaddress
import itertools
import os
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import namespaces
from testbed.emulate import rtnetlink, shaping
from testbed.emulate.netlink import Netlink, Request
from testbed.emulate.servers import Servers
from testbed.faults import State
from testbed.job import Interface, Job, Link, Node, Shape

_SIOCETHTOOL, _ETHTOOL_GLINK, _ETHTOOL_STXCSUM = 0x8946, 0x0A, 0x17
_NEIGHBOURS = 1 << 17  # all namespaces share one table of each family, and its limits
_FILES_A_NODE, _FILES_BESIDES = 2, 512  # of a node: its namespace and its socket
# All that runs on the nodes inherits it. The usual 1,024 are fewer than a server's clients: who cannot accept
# a connection for want of a descriptor is told at once that it waits still, and on the virtual clock, where
# trying takes no time, would try for ever.
_FILES_LEAST = 2**15
_BRIDGE = rtnetlink.LOOPBACK + 1  # the number of a switch's bridge
_TREE_POLL_S, _SETTLE_POLL_S = 1.0, 0.001
_PATIENCE_S = 60.0

# By interface; one that is new takes what `default` says.
_IPV4 = {
    # one hop's answer must not depend on another interface's, and replies leave where routes say
    "rp_filter": "0",
    "arp_ignore": "1",
    "arp_announce": "2",
}
# Addresses are the plan's, and hold at once: nobody probes for duplicates (RFC 4862, 5.4) or asks routers.
_IPV6 = {
    "accept_dad": "0",
    "dad_transmits": "0",
    "accept_ra": "0",
    "router_solicitations": "0",
}


class NetworkError(RuntimeError):
    """A network that cannot be what its job says; the message says why."""


class Network(Servers):
    """A running network; it is what a fault is given as `net`."""

    def __init__(self, job: Job, logs: Path, nodes: Path) -> None:
        super().__init__(job, self.namespace, logs, nodes)
        self._built: dict[str, Node] = {}
        self._wired: dict[str, Link] = {}
        self._namespaces: dict[str, int] = {}
        self._sockets: dict[str, Netlink] = {}
        self._indexes: dict[str, dict[str, int]] = {}  # by node, by interface
        self._start_ns: int | None = None  # Unix time at which traces begin, when it is known
        self._numbers = itertools.count(_BRIDGE + 1)

    def namespace(self, node: str) -> int:
        """The file descriptor that holds a node's namespace open."""
        return self._namespaces[node]

    def socket(self, node: str) -> Netlink:
        """A socket to the routing subsystem of a node's namespace."""
        return self._sockets[node]

    def index(self, node: str, interface: str) -> int:
        """The kernel's number of an interface in its node's namespace."""
        return self._indexes[node][interface]

    def names(self, node: str) -> dict[int, str]:
        """The name of each of a node's interfaces, by the kernel's number."""
        return {index: name for name, index in self._indexes[node].items()}

    def build(self) -> None:
        """Make every node and link of the job.

        NetlinkError says what the kernel refused, NetworkError what it lacks or has understood otherwise.
        """
        self.become(self.job)

    def become(self, job: Job) -> None:
        """Be the network of another job: what it lacks goes, what it has more is made, the rest runs on."""
        lacks = shaping.lacking(i.shape for node in job.nodes for i in node.interfaces)
        if lacks:
            raise NetworkError(f"this kernel lacks queueing disciplines that links need: {', '.join(lacks)}")
        nodes = {node.name: node for node in job.nodes}
        links = {link.name: link for link in job.links}
        self._remove(
            [name for name in self._built if name not in nodes],
            [name for name in self._wired if name not in links],
        )
        self.job = job
        new = [node for node in job.nodes if node.name not in self._built]
        self._create(new)
        wires = [link for link in job.links if link.name not in self._wired]
        ends = {(link.a, link.a_interface) for link in wires} | {(link.b, link.b_interface) for link in wires}
        self._built, self._wired = nodes, links
        self._connect(wires)
        for node in job.nodes:
            fresh = [i for i in node.interfaces if (node.name, i.name) in ends]
            self._configure(node, fresh, new=node in new)
            self._compare(node, fresh)
        self._settle(sorted(ends))

    def close(self) -> None:
        """Let go of all nodes, and return when the kernel has taken down those that no process is in.

        It does so behind the back of who closes a namespace, in the order in which they were closed. A pair
        that reaches into one more namespace, closed after all others, is gone when they are.
        """
        with namespaces.returning() as here:
            near, socket = namespaces.create(here), Netlink()
            far = namespaces.create(here)
        a, b = (Interface(name="witness", link="witness", mac=f"02:00:00:00:00:0{end}") for end in (1, 2))
        socket.ask(rtnetlink.pair(a, b, (_BRIDGE, _BRIDGE), (near, far)))
        self._remove(list(self._built), list(self._wired))
        self._built, self._wired = {}, {}
        os.close(far)
        while any(name == "witness" for _, name in rtnetlink.names(socket)):
            time.sleep(_SETTLE_POLL_S)
        socket.close()
        os.close(near)

    def _remove(self, nodes: list[str], links: list[str]) -> None:
        doomed = set(nodes)
        for name in links:
            link = self._wired[name]
            ends = [(link.a, link.a_interface), (link.b, link.b_interface)]
            indexes = {node: self._indexes[node].pop(interface) for node, interface in ends}
            if left := [node for node in indexes if node not in doomed]:  # else it goes with the namespaces
                self._sockets[left[0]].ask(rtnetlink.gone(indexes[left[0]]))
        for name in nodes:
            self._sockets.pop(name).close()
            os.close(self._namespaces.pop(name))
            del self._indexes[name]

    def _create(self, nodes: list[Node]) -> None:
        """Make the namespaces of nodes, each with the settings of a model of its kind, and a socket in it."""
        if not nodes:
            return
        _make_room(len(self._sockets) + len(nodes))
        with namespaces.inheriting(), namespaces.returning() as here:
            models = {forwards: _model(here, forwards=forwards) for forwards in (False, True)}
            for node in nodes:
                self._namespaces[node.name] = namespaces.create(models[node.forwards])
                self._sockets[node.name] = Netlink()
                if not _has_ipv6(node):  # this is the one setting that no namespace takes from another
                    _set({"ipv6/conf/all/disable_ipv6": "1"})
                if node.forwards:  # as routers do: ICMP errors come from where the packet came in, as in IPv6
                    _set({"ipv4/icmp_errors_use_inbound_ifaddr": "1"})
                _set({f"ipv4/{name}": value for name, value in node.sysctls.items()})
                self._indexes[node.name] = {"lo": rtnetlink.LOOPBACK}
                if node.bridge:
                    self._indexes[node.name][rtnetlink.BRIDGE] = _BRIDGE
            for model in models.values():
                os.close(model)

    def _connect(self, links: list[Link]) -> None:
        """Make the pairs, all with one socket: their namespaces are named in the requests."""
        ends = {(node.name, i.name): i for node in self.job.nodes for i in node.interfaces}
        requests = []
        for link in links:
            sides = ((link.a, link.a_interface), (link.b, link.b_interface))
            a, b = (ends[side] for side in sides)
            indexes = [self._number(*side) for side in sides]
            requests.append(
                rtnetlink.pair(
                    a, b, (indexes[0], indexes[1]), (self._namespaces[link.a], self._namespaces[link.b])
                )
            )
        # asked in an empty namespace: the kernel refuses names and numbers that are taken where it is asked
        with namespaces.returning() as here:
            os.close(namespaces.create(here))
            outside = Netlink()
        try:
            outside.ask(*requests)
        finally:
            outside.close()

    def _number(self, node: str, interface: str) -> int:
        """The number that a new interface will have; choosing it saves asking for it.

        No two are the same: at an end with the number of its peer the kernel takes its time, up to a
        second, to notice that the link is up (linkwatch_urgent_event in net/core/link_watch.c).
        """
        self._indexes[node][interface] = next(self._numbers)
        return self._indexes[node][interface]

    def _configure(self, node: Node, fresh: list[Interface], *, new: bool) -> None:
        """Bring up new interfaces, and all else that belongs to a new node."""
        socket, indexes = self._sockets[node.name], self._indexes[node.name]
        requests: list[Request] = []
        if new:
            requests.append(rtnetlink.up(rtnetlink.LOOPBACK))
            requests.extend(rtnetlink.address(rtnetlink.LOOPBACK, loopback) for loopback in node.loopbacks)
            if node.bridge:
                bridge = indexes[rtnetlink.BRIDGE]
                requests.extend([rtnetlink.bridge(node, bridge), rtnetlink.up(bridge)])
        for interface in fresh:
            index = indexes[interface.name]
            # the stack sums what it sends, since no card behind the interface does (ethtool -K tx off)
            _ethtool(socket, interface.name, _ETHTOOL_STXCSUM)
            requests.extend(self._shaping(index, interface.shape, self._seed(node.name, interface.name)))
            requests.append(rtnetlink.up(index, indexes.get(rtnetlink.BRIDGE)))
            if node.bridge and interface.vlan:
                requests.extend(rtnetlink.access(index, interface.vlan))
            requests.extend(_addresses(index, interface))
        requests.extend(
            rtnetlink.route(route.prefix, route.via)
            for route in node.routes
            if new or any(_reached_through(interface, route.via) for interface in fresh)
        )
        socket.ask(*requests)

    def _shaping(self, index: int, shape: Shape, seed: int | None = None) -> list[Request]:
        return shaping.requests(index, shape, seed, self.job.traces, self._start_ns)

    def _compare(self, node: Node, fresh: list[Interface]) -> None:
        """Read back what new interfaces do to packets; NetworkError if any of it is not as it should be."""
        own = {self._indexes[node.name][interface.name]: interface for interface in fresh}
        shapes = {index: interface.shape for index, interface in own.items()}
        if wrong := shaping.mismatches(self._sockets[node.name], shapes, self.job.traces):
            known = ", ".join(f"{index} is {own[index].name} of {own[index].link}" for index in own)
            raise NetworkError(f"{node.name}: {'; '.join(wrong)} ({known})")

    def _settle(self, ends: list[tuple[str, str]]) -> None:
        """Return when links just made or brought up carry packets, from the right addresses."""
        fresh: dict[str, set[int]] = {}
        for node, interface in ends:
            fresh.setdefault(node, set()).add(self._indexes[node][interface])
            # who asks has the kernel look at once (since Linux 6.8); by itself it does for 100 in a second
            _ethtool(self._sockets[node], interface, _ETHTOOL_GLINK)
        for node, indexes in fresh.items():
            until = time.monotonic() + _PATIENCE_S
            while rtnetlink.unsettled(self._sockets[node], indexes):
                if time.monotonic() > until:
                    raise TimeoutError(f"{node}: a link has no carrier after {_PATIENCE_S:g} s")
                time.sleep(_SETTLE_POLL_S)

    def _seed(self, node: str, interface: str) -> int:
        text = f"{self.job.seed} {node} {interface}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")

    def await_trees(self) -> None:
        """Return when no port of a bridge with 802.1D is on its way to another state.

        That is 30 s after the start on the standard's timers (IEEE 802.1D-2004, 17.14): a port listens
        and learns for 15 s each before it forwards.
        """
        for node in self.job.nodes:
            if not (node.bridge and node.stp):
                continue
            socket = self._sockets[node.name]
            while any(state not in rtnetlink.LASTING for _, state in rtnetlink.port_states(socket)):
                time.sleep(_TREE_POLL_S)

    def start_traces(self, t0_unix_ns: int) -> None:
        """Have every link that follows a trace begin it at this time."""
        self._start_ns = t0_unix_ns
        for link in self.job.links:
            planned = (("forward", link.a_to_b), ("backward", link.b_to_a))
            self._render(link, [way for way, shape in planned if shape.trace])

    # What faults may do, besides what they find in Servers and Layers.

    def _render(self, link: Link, ways: list[str]) -> None:
        for way in ways:
            node, interface = (link.a, link.a_interface) if way == "forward" else (link.b, link.b_interface)
            shape = self.shape(link.name, way)
            self._sockets[node].ask(*self._shaping(self._indexes[node][interface], shape))

    def _carrier(self, link: Link, *, up: bool) -> None:
        ends = [(link.a, link.a_interface), (link.b, link.b_interface)]
        for name, end in ends:
            index = self._indexes[name][end]
            self._sockets[name].ask(rtnetlink.up(index) if up else rtnetlink.down(index))
        for name, end in ends if up else []:
            # the kernel forgets an interface's IPv6 addresses and static routes when it goes down
            node = self._built[name]
            interface = next(i for i in node.interfaces if i.name == end)
            self._sockets[name].ask(
                *_addresses(self._indexes[name][end], interface),
                *(
                    rtnetlink.route(route.prefix, route.via)
                    for route in node.routes
                    if _reached_through(interface, route.via)
                ),
            )
        if up:
            self._settle(ends)

    # What can be read.

    def state(self) -> State:
        """All that faults may change, to be compared before and after.

        That is links, addresses, queues, routes, processes, and of servers their files and who drains.
        Routes are those the plan sets; what daemons learn may lawfully differ after a fault.
        """
        state: State = {}
        for node in self.job.nodes:
            socket = self._sockets[node.name]
            ipv6 = _has_ipv6(node)
            state[node.name] = {
                "interfaces": sorted(rtnetlink.flags(socket)),
                "addresses": sorted(rtnetlink.addresses(socket)),
                "queues": sorted(shaping.configured(socket)),
                "routes": sorted(rtnetlink.static_routes(socket, ipv6=ipv6)),
                "processes": self.processes.running(node.name),
                "files": self.changed(node.name) if node.titles or node.name in self.job.routing else [],
                "draining": self.draining() if node.role == "steering" else [],
            }
        return state

    def counters(self) -> Iterator[tuple[str, str, str, dict[str, int]]]:
        """(link, node, interface, counters) of what leaves every shaped interface."""
        for node in self.job.nodes:
            found = shaping.counters(self._sockets[node.name])
            for interface in node.interfaces:
                index = self._indexes[node.name][interface.name]
                yield interface.link, node.name, interface.name, found[index]


def _has_ipv6(node: Node) -> bool:
    """Whether a node speaks IPv6 at all; a switch never does."""
    own = (*node.loopbacks, *(interface.address6 for interface in node.interfaces))
    return not node.bridge and any(":" in address for address in own)


def _model(like: int, *, forwards: bool) -> int:
    """A new namespace with the settings of one kind of node, which this thread is then in."""
    model = namespaces.create(like)
    for where in ("all", "default"):
        _set({f"ipv4/conf/{where}/{name}": value for name, value in _IPV4.items()})
        _set({f"ipv6/conf/{where}/{name}": value for name, value in _IPV6.items()})
    _set({"ipv4/ip_forward": str(int(forwards)), "ipv6/conf/all/forwarding": str(int(forwards))})
    return model


def _set(values: dict[str, str]) -> None:
    for name, value in values.items():
        Path("/proc/sys/net", name).write_text(value)


def _make_room(nodes: int) -> None:
    """Raise the limits that a network of so many nodes would meet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(_FILES_LEAST, _FILES_A_NODE * nodes + _FILES_BESIDES)
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    for family in ("ipv4", "ipv6"):
        for threshold in Path(f"/proc/sys/net/{family}/neigh/default").glob("gc_thresh*"):
            if int(threshold.read_text()) < _NEIGHBOURS:
                threshold.write_text(str(_NEIGHBOURS))


def _addresses(index: int, interface: Interface) -> list[Request]:
    given = (interface.address, interface.address6)
    return [rtnetlink.address(index, address) for address in given if address]


def _reached_through(interface: Interface, via: str) -> bool:
    """Whether a gateway is on the link behind an interface."""
    given = (interface.address, interface.address6)
    gateway = ipaddress.ip_address(via)
    return any(gateway in ipaddress.ip_interface(address).network for address in given if address)


def _ethtool(socket: Netlink, interface: str, command: int) -> None:
    """An ethtool command whose value is 0, or is not looked at."""
    value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
    request = struct.pack("@16sP16x", interface.encode(), ctypes.addressof(value))
    fcntl.ioctl(socket.fileno(), _SIOCETHTOOL, request)
