"""Mininet's classes on our network: their nodes, interfaces, links and Mininet itself, without its processes.

A script written for Mininet runs with this `Mininet` in place of its own; nothing else of it has to
change. Hosts, switches and links are noted as they are added and built in one batch, a switch is a
learning bridge that needs no controller, and a node has no process until a command asks for its
shell. `Mininet.of` gives a running network of the testbed the same face.

What Mininet's own code does by running `ip`, `tc`, `ifconfig` or `mnexec` is done here by netlink
and in this process; all else is inherited.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import re
import tempfile
import termios
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import mininet.net
import mininet.node
import mininet.nodelib
from mininet.log import info, output, warn

from testbed import job as jobs
from testbed import namespaces
from testbed.emulate import rtnetlink
from testbed.emulate.links import Intf, Link, ours
from testbed.emulate.netlink import Netlink
from testbed.emulate.network import Network
from testbed.job import Job, Shape

_POLL_S = 0.01
_PATIENCE_S = 60.0
_MNEXEC_P = r"""mnexec() { shift; ( printf '\001%d\012' $BASHPID; exec "$@" ) }"""  # what monitor() looks for


class _OfTheShell:
    """An attribute of a node's shell; whoever reads it has the shell started."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, node: Any, owner: type) -> Any:
        if node is None:
            return self
        node.wake()
        return getattr(node, self.name)

    def __set__(self, node: Any, value: Any) -> None:
        setattr(node, self.name, value)


class Node(mininet.node.Node):  # type: ignore[misc]
    """A namespace of our network; a shell runs in it from the first command on."""

    shell, pid, master, slave = _OfTheShell(), _OfTheShell(), _OfTheShell(), _OfTheShell()
    stdin, stdout, pollOut = _OfTheShell(), _OfTheShell(), _OfTheShell()  # noqa: N815 - Mininet's name

    def __init__(self, name: str, inNamespace: bool = True, **params: Any) -> None:  # noqa: N803, ARG002
        self.net: Mininet = params.pop("net")
        self.plan: jobs.Node | None = params.pop("plan", None)
        self._asleep = False  # not yet: the constructor reads what it has just set
        super().__init__(name, **params)
        self.inNamespace = True
        self._asleep = True

    @classmethod
    def setup(cls) -> None:
        """Need no program: not mnexec, brctl or ifconfig."""

    @property
    def namespace(self) -> int:
        """The file descriptor that holds the node's namespace open; what was only noted is built for it."""
        self.net.realise()
        return self.net.network.namespace(self.name)

    @property
    def socket(self) -> Netlink:
        """A socket to the routing subsystem of the node's namespace."""
        self.net.realise()
        return self.net.network.socket(self.name)

    def planned(self) -> jobs.Node:
        """The node as a job has it."""
        first = self.plan or jobs.Node(name=self.name, role="host")
        return replace(first, interfaces=tuple(i.planned() for i in self.intfList() if i.link))

    # The shell: Mininet's own, but started late and without mnexec.

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """Start nothing yet; `wake` does."""

    def mountPrivateDirs(self) -> None:  # noqa: N802
        """Mount nothing yet; `wake` does."""

    def wake(self) -> None:
        """Start the shell if it does not run, and mount the node's private folders in it."""
        if self._asleep:
            self._asleep = False
            super().startShell()
            self.cmd(_MNEXEC_P)
            super().mountPrivateDirs()

    def _popen(self, cmd: list[str], **params: Any) -> Any:
        """Run a program on the node; it is the shell if mnexec was to start it."""
        begin: Callable[[], None] | None = None
        if cmd[0] == "mnexec":
            cmd, begin = cmd[2:], _as_shell
        elif self.privateDirs:
            begin = functools.partial(namespaces.enter_mounts, self.pid)
        with namespaces.inside(self.namespace):
            return Popen(cmd, start_new_session=True, preexec_fn=begin, **params)  # noqa: PLW1509 - one thread

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        """A Popen object of a program on the node, given as a string, a list or several words."""
        words = list(args)
        if len(words) == 1:
            (words,) = args if isinstance(args[0], list) else ([args[0]],)
            if len(words) == 1 and not kwargs.get("shell"):
                words = str(words[0]).split()
        if kwargs.pop("shell", False):
            words = [os.environ.get("SHELL", "/bin/sh"), "-c", " ".join(map(str, words))]
        kwargs.pop("mncmd", None)
        return self._popen([str(word) for word in words], **{"stdout": PIPE, "stderr": PIPE, **kwargs})

    def terminate(self) -> None:
        """End the shell, if it was ever started; it does not start again."""
        started, self._asleep = self._shell is not None, False
        if started:
            super().terminate()

    def stop(self, deleteIntfs: bool = False) -> None:  # noqa: N803
        """End the shell; interfaces go with the network, or with `delLink`."""
        if deleteIntfs:
            self.deleteIntfs(checkName=False)
        self.terminate()

    # Configuration.

    def addIntf(self, intf: Any, port: int | None = None, moveIntfFn: Any = None) -> None:  # noqa: ARG002, N802, N803
        """Note an interface, which is made where it belongs and need not be moved."""
        super().addIntf(intf, port=port, moveIntfFn=lambda *_: None)

    def config(self, mac: str | None = None, ip: str | None = None, **params: Any) -> dict[str, Any]:
        """Give the default interface its addresses, and the node its default route."""
        results: dict[str, Any] = {}
        self.setParam(results, "setMAC", mac=mac)
        self.setParam(results, "setIP", ip=ip)
        self.setParam(results, "setDefaultRoute", defaultRoute=params.get("defaultRoute"))
        return results

    def setDefaultRoute(self, intf: Any = None) -> Any:  # noqa: N802
        """Set the default route, `via ADDRESS`; anything else is left to `ip`."""
        way = re.fullmatch(r"(?:dev \S+ )?via (\S+)", str(intf).strip())
        if way is None:
            return super().setDefaultRoute(intf)
        self.socket.ask(rtnetlink.route("0.0.0.0/0", way[1]))
        return ""

    def setARP(self, ip: str, mac: str) -> str:  # noqa: N802
        """Know a neighbour on the default interface for good."""
        self.knows([(ip, mac)])
        return ""

    def knows(self, neighbours: Iterable[tuple[str, str]]) -> None:
        """Know neighbours, (address, MAC address), on the default interface for good."""
        index = self.defaultIntf().index
        self.socket.ask(*(rtnetlink.neighbour(index, ip, mac) for ip, mac in neighbours))

    def __repr__(self) -> str:
        """Like Mininet's, but the shell is not started for the sake of its number."""
        own = ",".join(f"{intf.name}:{intf.IP()}" for intf in self.intfList())
        number = self._shell and self._pid
        return f"<{type(self).__name__} {self.name}: {own} pid={number}> "


def _as_shell() -> None:
    """What mnexec does for a shell: its terminal is the controlling one, and its mounts are its own."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    namespaces.own_mounts()


class Host(Node, mininet.node.Host):  # type: ignore[misc]
    """A host."""


class Bridge(Node, mininet.nodelib.LinuxBridge):  # type: ignore[misc]
    """A switch: a learning bridge of the kernel, with 802.1D only where asked."""

    controlIntf = None  # noqa: N815

    def defaultDpid(self, dpid: str | None = None) -> str:  # noqa: N802
        """The number in the name, if there is one; no controller asks for it."""
        return str(super().defaultDpid(dpid)) if dpid or re.search(r"\d", self.name) else "0" * self.dpidLen

    def planned(self) -> jobs.Node:
        """The switch as a job has it."""
        return replace(super().planned(), role="exchange", bridge=True, stp=bool(self.stp))

    def start(self, _controllers: Any = ()) -> None:
        """Come up, as is done when the network is built."""

    def stop(self, deleteIntfs: bool = False) -> None:  # noqa: N803
        """End the shell; the bridge goes with the network."""
        Node.stop(self, deleteIntfs)

    def connected(self) -> bool:
        """Whether every port has found its state."""
        return all(state in rtnetlink.LASTING for _, state in rtnetlink.port_states(self.socket))


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
            intf = host.defaultIntf()
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

    def stop(self) -> None:
        """End all shells, and the network unless it was there before."""
        for node in self.nodes:
            node.terminate()
        if self._ours_to_close:
            self.network.close()
        info("*** Done\n")

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
        while f":{port:04X} " not in Path(f"/proc/thread-self/net/{kind}").read_text():
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
