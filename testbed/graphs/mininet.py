"""A network as a script for stock Mininet: TCLinks, Linux bridges, and routers with static routes.

No routing daemon runs in it: the script sets the routes with the fewest hops once, so what breaks stays
broken. What Mininet's links have no word for is named in the script's head.
"""

from __future__ import annotations

import re
from typing import Any

from testbed.graphs import words
from testbed.impairments import mean_loss
from testbed.job import Interface, Job, Link, Node, Shape
from testbed.model.link import MTU
from testbed.units import show_duration

BRIDGE_NAME_MOST = 9  # of the 15 of a Linux interface, with room for -eth and a port's number
MBIT_MOST = 1000  # TCIntf ignores more
UNSAID = ("duplicate", "reorder", "corrupt", "aqm", "ecn")

_SCRIPT = '''\
#!/usr/bin/env python3
"""{name}, written by 'testbed graph' for stock Mininet: sudo python3 FILE

Takes Mininet, brctl (bridge-utils) and iproute2. Routes are static, those with the fewest hops; there is no
routing daemon.{notes}
"""

from ipaddress import ip_interface
from subprocess import PIPE

from mininet.cli import CLI
from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo


class Router(Node):
    """A node that forwards."""

    def config(self, **params):
        """Turn forwarding on."""
        super().config(**params)
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.cmd(f"sysctl -w {{setting}}=1")


class {cls}(Topo):
    """The nodes and links of {name}."""

    def build(self):
        """Add them all."""
{nodes}

{links}


def addresses(node):
    """Every address of a node, those on lo too."""
    found = list(node.params.get("lo_addresses", ()))
    for port in node.intfList():
        found += [port.params[key] for key in ("ip", "ip6") if port.params.get(key)]
    return [ip_interface(address) for address in found]


def route(net):
    """Set the addresses that Mininet does not, and static routes to every network."""
    nodes = [node for node in net.hosts if addresses(node)]
    there = {{}}
    for node in nodes:
        for address in addresses(node):
            there.setdefault(address.network, []).append((node, address.ip))
    for node in nodes:
        lines = [f"address add {{address}} dev lo" for address in node.params.get("lo_addresses", ())]
        for port in node.intfList():
            if port.params.get("ip6"):
                lines.append(f"address add {{port.params['ip6']}} dev {{port}} nodad")
        for version in (4, 6):
            lines += routes(node, there, version)
        ip = node.popen(["ip", "-batch", "-"], stdin=PIPE)
        ip.communicate("\\n".join(lines).encode())


def routes(start, there, version):
    """The way from a node to every network of one family, by the fewest hops."""
    via, seen, waiting, lines = {{start: None}}, set(), [start], []
    while waiting:
        node = waiting.pop(0)
        for network in (address.network for address in addresses(node) if address.version == version):
            if network in seen:
                continue
            seen.add(network)
            if via[node]:
                lines.append(f"route replace {{network}} via {{via[node]}}")
            for other, address in there[network]:
                if other not in via:
                    via[other] = via[node] or address
                    if isinstance(other, Router):
                        waiting.append(other)
    return lines


topos = {{"{key}": {cls}}}

if __name__ == "__main__":
    setLogLevel("info")
    net = Mininet(topo={cls}(), link=TCLink, switch=LinuxBridge, controller=None)
    net.start()
    try:
        route(net)
        CLI(net)
    finally:
        net.stop()
'''


def mininet(job: Job) -> str:
    """The script, which `testbed import mininet` reads back."""
    names = _names(job)
    left: dict[str, list[str]] = {}  # what cannot be said, and of which links or switches
    nodes = [
        f"        self.{_node(node, number, names[node.name])}"
        for number, node in enumerate(job.nodes, start=1)
    ]
    links = [f"        self.{_link(job, link, names, left)}" for link in job.links]
    vlans = [node.name for node in job.nodes for port in node.interfaces if port.vlan]
    if vlans:
        left["VLANs"] = vlans
    notes = [f"{what}: {words.listed(where)}" for what, where in left.items()]
    told = "".join(f"\n  {note}" for note in notes)
    return _SCRIPT.format(
        name=job.topology, key=job.topology, cls=job.topology.title().replace("-", ""),
        notes=f"\n\nLeft out, since Mininet cannot do it:{told}" if notes else "",
        nodes="\n".join(nodes), links="\n".join(links),
    )  # fmt: skip


def _names(job: Job) -> dict[str, str]:
    """Names that Mininet's prompt can take apart, short for switches, which are the machine's own devices."""
    names: dict[str, str] = {}
    for number, node in enumerate(job.nodes):
        name = re.sub(r"[^a-z0-9]", "_", node.name)
        if node.bridge:
            name = name[:BRIDGE_NAME_MOST]
        names[node.name] = name if name not in names.values() else f"{'s' if node.bridge else 'n'}_{number}"
    return names


def _node(node: Node, number: int, name: str) -> str:
    said: dict[str, Any] = {"testbed": node.name}
    if node.bridge:
        said |= {"dpid": f"{number:x}"} | ({"stp": True} if node.stp else {})
        return f"addSwitch({_arguments([name], said)})"
    if node.role == "router":
        said |= {"role": "router", "asn": node.asn}
    if node.loopbacks:
        said["lo_addresses"] = list(node.loopbacks)
    cls = ", cls=Router" if node.forwards else ""
    return f"addHost({_arguments([name], said)}{cls}, ip=None)"


def _link(job: Job, link: Link, names: dict[str, str], left: dict[str, list[str]]) -> str:
    there, back = (_shape(link, shape, left) for shape in (link.a_to_b, link.b_to_a))
    both = {key: value for key, value in there.items() if back.get(key) == value}
    said: dict[str, Any] = {"relation": link.relation} if link.relation else {}
    said |= both
    for number, (end, own) in enumerate(
        (((link.a, link.a_interface), there), ((link.b, link.b_interface), back)), 1
    ):
        node = job.node(end[0])
        port = next(port for port in node.interfaces if port.name == end[1])
        if not node.bridge:
            said[f"intfName{number}"] = port.name
        if params := _addresses(port) | {key: value for key, value in own.items() if key not in both}:
            said[f"params{number}"] = params
        if port.mtu != MTU and number == 1:
            left.setdefault("MTUs", []).append(link.name)
    return f"addLink({_arguments([names[link.a], names[link.b]], said)})"


def _addresses(port: Interface) -> dict[str, Any]:
    found = {"ip": port.address, "ip6": port.address6}
    return {key: value for key, value in found.items() if value}


def _shape(link: Link, shape: Shape, left: dict[str, list[str]]) -> dict[str, Any]:
    """One direction in the words of TCIntf; for what has none, the link is added to what is left out."""
    said: dict[str, Any] = {}
    unsaid = [word for word in words.of_shape(shape) if word in UNSAID]
    if shape.rate_bps and shape.rate_bps <= MBIT_MOST * 10**6:
        mbit = shape.rate_bps / 10**6
        said["bw"] = int(mbit) if mbit.is_integer() else mbit
    elif shape.rate_bps or shape.trace:
        unsaid.append("traces" if shape.trace else f"rates above {MBIT_MOST} Mbit/s")
    if shape.delay_ns:
        said["delay"] = show_duration(shape.delay_ns)
    if shape.jitter_ns:
        said["jitter"] = show_duration(shape.jitter_ns)
        if shape.jitter_distribution != "uniform" or shape.jitter_correlation:
            unsaid.append("the distribution of jitter")
    if shape.loss is not None:
        said["loss"] = round(100 * mean_loss(shape.loss), 9)
        if shape.loss.model != "random":
            unsaid.append("losses in bursts (their mean is here)")
    if shape.queue_packets is not None and shape.queue_packets != Shape().queue_packets:
        said["max_queue_size"] = shape.queue_packets
    elif shape.queue_bytes is not None:
        said["max_queue_size"] = max(1, shape.queue_bytes // 1514)  # netem there counts packets
    for what in unsaid:
        left.setdefault(what, []).append(link.name)
    return said


def _arguments(names: list[str], said: dict[str, Any]) -> str:
    return ", ".join([*map(repr, names), *(f"{key}={value!r}" for key, value in said.items())])
