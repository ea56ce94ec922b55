"""Mininet's nodes on our network: hosts and switches without a process until a command asks for one.

What Mininet's own code does by running `ip`, `ifconfig` or `mnexec` is done here by netlink and in
this process; all else is inherited.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import select
import termios
from collections.abc import Callable, Iterable
from dataclasses import replace
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import mininet.node
import mininet.nodelib

from testbed import job as jobs
from testbed import namespaces
from testbed.emulate import rtnetlink
from testbed.emulate.links import Intf
from testbed.emulate.netlink import Netlink

if TYPE_CHECKING:
    from testbed.emulate.mininet import Mininet

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
            self.pollOut.modify(self.stdout, select.POLLIN)  # it can always be written to: that is no news
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
            return super().setDefaultRoute(f"dev {intf.name}" if isinstance(intf, Intf) else intf)
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
        return replace(super().planned(), role="switch", bridge=True, stp=bool(self.stp))

    def start(self, _controllers: Any = ()) -> None:
        """Come up, as is done when the network is built."""

    def stop(self, deleteIntfs: bool = False) -> None:  # noqa: N803
        """End the shell; the bridge goes with the network."""
        Node.stop(self, deleteIntfs)

    def connected(self) -> bool:
        """Whether every port has found its state."""
        return all(state in rtnetlink.LASTING for _, state in rtnetlink.port_states(self.socket))
