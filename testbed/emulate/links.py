"""Mininet's links and interfaces on our network: noted first, built in one batch, changed by netlink.

Parameters are those of Mininet's TCIntf, so `bw` is in Mbit/s, `loss` in percent, and a `delay`
without unit in microseconds, as tc(8) reads it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import mininet.link

from testbed import job as jobs
from testbed.emulate import rtnetlink, shaping
from testbed.job import Interface, Loss, Shape


class Intf(mininet.link.TCIntf):  # type: ignore[misc]
    """An interface, with the parameters of Mininet's TCIntf: bw in Mbit/s, delay, jitter, loss in %, ..."""

    node: Any
    link: Any
    mac: str | None
    ip: str | None
    prefixLen: str | None  # noqa: N815
    shape = Shape()
    mtu = 1500
    index = 0  # of the kernel; 0 while the interface is only noted

    def __init__(self, name: str, plan: Interface | None = None, **params: Any) -> None:
        self.plan = plan
        super().__init__(name, **params)

    def planned(self) -> Interface:
        """The interface as a job has it."""
        if self.plan:
            return self.plan
        return Interface(
            name=self.name,
            link=self.link.plan.name,
            mac=self.mac or "",
            address=f"{self.ip}/{self.prefixLen}" if self.ip else "",
            mtu=self.mtu,
            shape=self.shape,
        )

    def _ask(self, *requests: Any) -> str:
        """Have the kernel do it if it knows the interface; what went wrong, as ifconfig would say it."""
        if self.index:
            self.node.socket.ask(*requests)
        return ""

    def config(self, **params: Any) -> dict[str, Any]:
        """Take over addresses and what TCIntf knows of; what is not given stays as it is."""
        known = {name: params[name] for name in _SHAPING if params.get(name) is not None}
        if known:
            self.shape = shaped(self.shape, **known)
            if self.index:
                self._ask(*shaping.requests(self.index, self.shape))
        rest = {name: value for name, value in params.items() if name in ("mac", "ip", "ifconfig", "up")}
        result: dict[str, Any] = mininet.link.Intf.config(self, **rest)
        return result

    def ifconfig(self, *args: str) -> Any:
        """Go up or down; anything else is left to the program."""
        words = " ".join(args).split()
        if words == ["up"]:
            return self._ask(rtnetlink.up(self.index))
        if words == ["down"]:
            return self._ask(rtnetlink.down(self.index))
        return super().ifconfig(*args)

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:  # noqa: N802, N803
        """Have this IPv4 address, "10.0.0.1/8", instead of any other."""
        ip, _, length = ipstr.partition("/")
        length = length or str(prefixLen or "")
        if not length:
            raise ValueError(f"{self}: no prefix length for {ipstr}; write {ipstr}/24, for example")
        before = [f"{self.ip}/{self.prefixLen}"] if self.ip else []
        self.ip, self.prefixLen = ip, length
        if [f"{ip}/{length}"] == before:
            return ""
        gone = [rtnetlink.address(self.index, old, delete=True) for old in before]
        return self._ask(*gone, rtnetlink.address(self.index, f"{ip}/{length}"))

    def setMAC(self, macstr: str) -> str:  # noqa: N802
        """Have this MAC address."""
        before, self.mac = self.mac, macstr
        return "" if macstr == before else self._ask(rtnetlink.hardware(self.index, macstr))

    def updateIP(self) -> str | None:  # noqa: N802
        """The IPv4 address that the kernel has now, or else the IPv6 one."""
        if self.index:
            found = [text for index, text in rtnetlink.addresses(self.node.socket) if index == self.index]
            found.sort(key=lambda text: (":" in text, text.startswith("127.")))
            ip, _, length = found[0].partition("/") if found else ("", "", "")
            self.ip, self.prefixLen = ip or None, length or None
        return self.ip

    def updateMAC(self) -> str | None:  # noqa: N802
        """The MAC address, which nobody else changes."""
        return self.mac

    def updateAddr(self) -> tuple[str | None, str | None]:  # noqa: N802
        """Both addresses, as they are now."""
        return self.updateIP(), self.updateMAC()

    def isUp(self, setUp: bool = False) -> bool:  # noqa: N802
        """Whether the interface is up, or bring it up."""
        if setUp:
            self.ifconfig("up")
            return True
        return bool(self.index and dict(rtnetlink.flags(self.node.socket)).get(self.name))

    def delete(self) -> None:
        """Be no more, and neither is the other end."""
        if self.link:
            self.node.net.unwire(self.link)
        self.node.delIntf(self)
        self.link, self.index = None, 0

    def __str__(self) -> str:
        """The name, with the node's if it tells nothing without."""
        own = self.name.startswith(self.node.name)
        return self.name if own else f"{self.node.name}-{self.name}"

    def status(self) -> str:
        """Whether the kernel has the interface, in Mininet's words."""
        return "OK" if self.index in dict(rtnetlink.names(self.node.socket)) else "MISSING"


_SHAPING = ("bw", "delay", "jitter", "loss", "max_queue_size", "enable_ecn", "enable_red")
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def shaped(
    shape: Shape,
    *,
    bw: float | None = None,
    delay: str | float | None = None,
    jitter: str | float | None = None,
    loss: float | None = None,
    max_queue_size: int | None = None,
    enable_ecn: bool = False,
    enable_red: bool = False,
) -> Shape:
    """A shape with what TCIntf's parameters change of it."""
    change: dict[str, Any] = {}
    if bw is not None:
        change["rate_bps"] = round(bw * 1e6)
    if delay is not None:
        change["delay_ns"] = _ns(delay)
    if jitter is not None:
        change["jitter_ns"] = _ns(jitter)
    if loss is not None:
        change["loss"] = Loss(parameters=(loss / 100,)) if loss else None
    if max_queue_size is not None:
        change |= {"queue_packets": max_queue_size, "queue_bytes": None}
    if enable_ecn or enable_red:  # TCIntf's own figures
        options = {"min": 30_000, "max": 35_000, "avpkt": 1500, "burst": 20, "probability": 1.0}
        change |= {"aqm": "red", "aqm_options": options, "ecn": enable_ecn}
    return replace(shape, **change)


def _ns(text: str | float) -> int:
    """A time as tc(8) reads it: a number alone is microseconds."""
    parts = re.fullmatch(r"([0-9.]+)\s*(?:(s|ms|us|ns)(?:ecs?)?)?", str(text).strip())
    if parts is None:
        raise ValueError(f"{text!r} is no time; write 10ms, for example")
    return round(float(parts[1]) * _UNITS_NS[parts[2] or "us"])


class Link(mininet.link.TCLink):  # type: ignore[misc]
    """A veth pair, each end shaped by what its interface is given."""

    intf1: Any
    intf2: Any

    def __init__(self, node1: Any, node2: Any, **params: Any) -> None:
        self.net = node1.net
        self.plan: jobs.Link = params.pop("plan", None) or self.net.unused(node1, node2)
        for end in ("cls1", "cls2", "intf"):
            params[end] = ours(params.get(end) or Intf, Intf)
        for end in ("addr1", "addr2"):
            params[end] = params.get(end) or self.net.randMac()
        params["fast"] = True
        super().__init__(node1, node2, **params)
        self.net.wire(self)

    @classmethod
    def makeIntfPair(cls, *_: Any, **__: Any) -> None:  # noqa: N802
        """Make nothing yet: the network does, for many at a time."""

    def planned(self) -> jobs.Link:
        """The link as a job has it."""
        a, b = self.intf1, self.intf2
        return replace(
            self.plan, a_interface=a.name, b_interface=b.name,
            a_to_b=a.planned().shape, b_to_a=b.planned().shape,
        )  # fmt: skip

    def delete(self) -> None:
        """Be no more."""
        self.intf1.delete()
        self.intf2.delete()


def ours(cls: Any, kind: type) -> Any:
    """Our class in place of one of Mininet's; what a script derived from theirs is derived from ours, too."""
    if isinstance(cls, functools.partial):
        return functools.partial(ours(cls.func, kind), *cls.args, **cls.keywords)
    if not isinstance(cls, type) or issubclass(cls, kind):
        return cls
    if cls.__module__.startswith("mininet."):
        return kind
    return type(cls.__name__, (cls, kind), {})
