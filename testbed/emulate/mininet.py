"""Mininet itself on our network, for scripts written for it and for the shell.

A script runs with this `Mininet` in place of Mininet's own; nothing else of it has to change. Hosts,
switches and links are noted as they are added and built in one batch, a switch is a learning bridge
that needs no controller, and a node has no process until a command asks for its shell.
`Mininet.of` gives a running network of the testbed the same face.
"""

from __future__ import annotations

import functools
import itertools
import select
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import mininet.net
from mininet.log import info, output, warn

from testbed import job as jobs
from testbed import namespaces
from testbed.emulate import rtnetlink
from testbed.emulate.links import Intf, Link, ours
from testbed.emulate.network import Network
from testbed.emulate.nodes import Bridge, Host, Node
from testbed.emulate.processes import bound
from testbed.job import Job, Shape

_POLL_S = 0.01
_PATIENCE_S = 60.0


class Mininet(mininet.net.Mininet):  # type: ignore[misc]
    """Mininet's own interface to our network."""

    inited = True  # Mininet would set the host's limits by a dozen processes

    def __init__(self, topo: Any = None, **options: Any) -> None:
        """Take the arguments of Mininet's; a controller is not started, and stock classes become ours."""
        build = options.pop("build", True)
        for name, kind in (("switch", Bridge), ("host", Host), ("link", Link), ("intf", Intf)):
            options[name] = ours(options.get(name) or kind, kind)
        options |= {"controller": None, "inNamespace": False}
        self.network = options.pop("network", None) or _empty()
        self._ours_to_close = not self.network.job.nodes
        self.nodes: list[Node] = []
        self.wires: list[Link] = []
        self._noted = False
        self._names: set[str] = set()
        self._held: dict[Link, ExitStack] = {}  # links that were taken down
        self._macs = itertools.count(1)
        super().__init__(topo, build=False, **options)
        if topo and build:
            self.build()

    @classmethod
    def of(cls, network: Network) -> Mininet:
        """A running network of the testbed, with Mininet's face; interfaces keep their names."""
        net = cls(network=network)
        for plan in network.job.nodes:
            (net.addSwitch if plan.bridge else net.addHost)(plan.name, plan=plan, stp=plan.stp)
        ends = {
            (node.name, interface.name): (port, interface)
            for node in network.job.nodes
            for port, interface in enumerate(node.interfaces)
        }
        for wire in network.job.links:
            (port1, a), (port2, b) = ends[wire.a, wire.a_interface], ends[wire.b, wire.b_interface]
            net.addLink(
                wire.a, wire.b, plan=wire, port1=port1, port2=port2, intfName1=a.name, intfName2=b.name,
                addr1=a.mac, addr2=b.mac, params1={"plan": a}, params2={"plan": b},
            )  # fmt: skip
        for node in net.nodes:
            assert node.plan is not None
            if any(loopback.split("/")[0] == node.plan.address for loopback in node.plan.loopbacks):
                # the address that others know the node by comes first
                Intf("lo", node, port=-1).index = rtnetlink.LOOPBACK
        net._know()
        net.built, net._noted = True, False
        return net

    # What is there.

    def addHost(self, name: str, cls: Any = None, **params: Any) -> Any:  # noqa: N802
        """A host; once the network is built, it is there at once."""
        cls = ours(cls or self.host, Host)
        if "plan" in params:
            params = {"ip": None, **params}
        return self._added(super().addHost(name, cls=functools.partial(cls, net=self), **params))

    def addSwitch(self, name: str, cls: Any = None, **params: Any) -> Any:  # noqa: N802
        """A switch; once the network is built, it is there at once."""
        cls = ours(cls or self.switch, Bridge)
        return self._added(super().addSwitch(name, cls=functools.partial(cls, net=self), **params))

    def _added(self, node: Node) -> Node:
        self.nodes.append(node)
        self._note()
        return node

    def addLink(self, node1: Any, node2: Any, *args: Any, cls: Any = None, **params: Any) -> Any:  # noqa: N802
        """A link; once the network is built, it is there at once."""
        return super().addLink(node1, node2, *args, cls=ours(cls or self.link, Link), **params)

    def addController(self, name: str = "c0", controller: Any = None, **_: Any) -> None:  # noqa: ARG002, N802
        """No controller: the switches learn by themselves."""
        warn(f"*** {name}: no controller is started, the switches learn by themselves\n")

    def addNAT(self, *_: Any, **__: Any) -> None:  # noqa: N802
        """No way out: the emulated network ends where it ends."""
        raise NotImplementedError("the emulated network has no way out, so there is no NAT")

    def delNode(self, node: Node, nodes: list[Node] | None = None) -> None:  # noqa: N802
        """A node goes, and its links."""
        for intf in node.intfList():
            if intf.link in self.links:
                self.links.remove(intf.link)
        super().delNode(node, nodes)
        self.nodes.remove(node)
        self._note()

    def randMac(self) -> str:  # noqa: N802
        """The next MAC address, the same in every run."""
        return "02:00:" + next(self._macs).to_bytes(4, "big").hex(":")

    def unused(self, a: Node, b: Node) -> jobs.Link:
        """A link between two nodes, with a name that no other has."""
        plain = f"{a.name}--{b.name}"
        names = itertools.chain([plain], (f"{plain}#{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in self._names)
        return jobs.Link(
            name=name, a=a.name, a_interface="", b=b.name, b_interface="", a_to_b=Shape(), b_to_a=Shape()
        )

    def wire(self, link: Link) -> None:
        """Take note of a link."""
        self.wires.append(link)
        self._names.add(link.plan.name)
        self._note()

    def unwire(self, link: Link) -> None:
        """Forget a link."""
        if link in self.wires:
            self.wires.remove(link)
            self._names.remove(link.plan.name)
            self._note()

    # Building: what was noted becomes a job, and the network becomes that job's.

    def _note(self) -> None:
        self._noted = True
        if self.built:
            self.realise()

    def realise(self) -> None:
        """Build what has been noted so far."""
        if not self._noted:
            return
        self._noted = False
        for host in self.hosts:
            intf = host.defaultIntf() if host.intfs else None
            if intf and not intf.index and not intf.plan:
                intf.mac = host.params.get("mac") or intf.mac
                if host.params.get("ip") and not intf.ip:
                    intf.setIP(host.params["ip"], self.prefixLen)
        nodes, links = (node.planned() for node in self.nodes), (link.planned() for link in self.wires)
        self.network.become(replace(self.network.job, nodes=tuple(nodes), links=tuple(links)))
        self._know()

    def _know(self) -> None:
        """Learn the interfaces' numbers, and the addresses that a plan gave them."""
        for link in self.wires:
            for intf in (link.intf1, link.intf2):
                intf.index = self.network.index(intf.node.name, intf.name)
                if intf.plan and not intf.ip and (address := intf.plan.address or intf.plan.address6):
                    intf.ip, intf.prefixLen = address.split("/")
                    intf.shape = intf.plan.shape

    def configHosts(self) -> None:  # noqa: N802
        """Build all that was noted, then let hosts configure themselves."""
        self.realise()
        super().configHosts()

    def staticArp(self) -> None:  # noqa: N802
        """Every host knows every other's MAC address."""
        known = [(host, host.IP(), host.MAC()) for host in self.hosts]
        for host in self.hosts:
            host.knows([(ip, mac) for other, ip, mac in known if other is not host])

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:  # noqa: N802
        """Take the links between two nodes down, or up again with all that the kernel forgot meanwhile."""
        links = self.linksBetween(self[src], self[dst]) if src in self and dst in self else []
        if not links or status not in ("up", "down"):
            super().configLinkStatus(src, dst, status)
        for link in links:
            held = self._held.pop(link, None)
            if status == "down":
                self._held[link] = held or ExitStack()
                if held is None:
                    self._held[link].enter_context(self.network.down(link.plan.name))
            elif held is not None:
                held.close()

    def stop(self) -> None:
        """End all shells, and the network unless it was there before."""
        for node in self.nodes:
            node.terminate()
        if self._ours_to_close:
            self.network.close()
        info("*** Done\n")

    def monitor(self, hosts: Any = None, timeoutms: int = -1) -> Iterator[tuple[Any, Any]]:
        """Lines that hosts print, as (host, line); (None, None) when none does for a while.

        Mininet's own spins until there is one, and so for ever where the clock waits for it to rest.
        """
        poller, by_file = select.poll(), {}
        for host in hosts or self.hosts:
            poller.register(host.stdout, select.POLLIN)
            by_file[host.stdout.fileno()] = host
        while True:
            ready = poller.poll(timeoutms)
            for number, _ in ready:
                host = by_file[number]
                host.readbuf, text = "", host.readbuf + host.read()
                *lines, host.readbuf = text.split("\n")
                yield from ((host, line) for line in lines)
            if not ready and timeoutms >= 0:
                yield None, None

    def iperf(
        self, hosts: Any = None, l4Type: str = "TCP", udpBw: str = "10M", fmt: str | None = None,  # noqa: N803
        seconds: float = 5, port: int = 5001,
    ) -> list[str]:  # fmt: skip
        """What iperf measures from the first host to the second: [server's figure, client's figure].

        Unlike Mininet's it needs no telnet to see that the server listens.
        """
        client, server = hosts or (self.hosts[0], self.hosts[-1])
        output(f"*** Iperf: testing {l4Type} bandwidth between {client} and {server}\n")
        kind = ["-u"] if l4Type == "UDP" else []
        form = ["-f", fmt] if fmt else []
        listening = server.popen(["iperf", "-s", "-p", str(port), *kind, *form], stderr=None)
        _await_bound(server.namespace, "udp" if kind else "tcp", port)
        rate = ["-b", udpBw] if kind else []
        said, wrong, _ = client.pexec(
            ["iperf", "-c", server.IP(), "-p", str(port), "-t", str(seconds), *kind, *form, *rate]
        )
        listening.terminate()
        heard = listening.communicate()[0].decode()
        result = [self._parseIperf(heard), self._parseIperf(said + wrong)]
        output(f"*** Results: {result}\n")
        return [udpBw, *result] if kind else result


def _await_bound(namespace: int, kind: str, port: int) -> None:
    """Return when a port is bound in a namespace."""
    until = time.monotonic() + _PATIENCE_S
    with namespaces.inside(namespace):
        while not bound(kind, port):
            if time.monotonic() > until:
                raise TimeoutError(f"nothing listens on {kind} port {port} after {_PATIENCE_S:g} s")
            time.sleep(_POLL_S)


def _empty() -> Network:
    """A network of a job without nodes."""
    job = Job(
        scenario="mininet", topology="mininet", seed=1, clock="wall", duration_ns=0, epoch_ns=0, zone="",
        nodes=(), links=(),
    )  # fmt: skip
    folder = Path(tempfile.gettempdir())
    return Network(job, folder, folder)
