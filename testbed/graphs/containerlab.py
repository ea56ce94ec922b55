"""A network as a containerlab file: addresses and forwarding are set, links carry their words as variables.

Containerlab's files have no words for a link's rate or delay (`containerlab tools netem set` does it once a
lab is up), and the routing daemons are the user's to configure; the header says both.
"""

from __future__ import annotations

from typing import Any

import yaml

from testbed.graphs import words
from testbed.job import Job, Node
from testbed.model.link import MTU

HOST_IMAGE = "alpine:3"
ROUTER_IMAGE = "quay.io/frrouting/frr:10.2.1"
BRIDGE_NAME_MOST = 10  # of the 15 of a Linux interface, with room for its ports' numbers

_HEADER = """\
# {name}, written by 'testbed graph'. Up with: containerlab deploy -t FILE
# Addresses are set; routes are not: configure FRR on the routers (vtysh), or add static routes.
# Rates, delays and losses are in the links' vars, for 'containerlab tools netem set' once the lab is up.
"""
_BRIDGES = "# Bridges have to be there before: {commands}\n"


def containerlab(job: Job) -> str:
    """The file, which `testbed import containerlab` reads back."""
    bridges = _bridges(job)
    names = {node.name: bridges.get(node.name, node.name) for node in job.nodes}
    nodes = {names[node.name]: _node(node) for node in job.nodes}
    left: dict[str, list[str]] = {}  # what has no word, and of which links or switches
    links = []
    for link in job.links:
        ends = [
            _end(job.node(name), port, names)
            for name, port in ((link.a, link.a_interface), (link.b, link.b_interface))
        ]
        said = words.of_link(job, link)
        mtu = said.pop("mtu", MTU)
        if link.a_to_b.trace or link.b_to_a.trace:
            left.setdefault("traces", []).append(link.name)
        links.append({"endpoints": ends, "mtu": mtu, **({"vars": said} if said else {})})
    whole = {"name": job.topology, "topology": {"nodes": nodes, "links": links}}
    header = _HEADER.format(name=job.topology)
    if bridges:
        commands = "; ".join(
            f"ip link add {name} type bridge && ip link set {name} up" for name in bridges.values()
        )
        header += _BRIDGES.format(commands=commands)
    if vlans := [node.name for node in job.nodes if any(port.vlan for port in node.interfaces)]:
        left["VLANs"] = vlans
    if left:
        header += "# Left out, since containerlab has no word for it:\n"
        header += "".join(f"#   {what}: {words.listed(where)}\n" for what, where in left.items())
    return header + yaml.dump(whole, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


class _Commands(list[str]):
    """Commands, a line each."""


class _Dumper(yaml.SafeDumper):
    """Writes lists and mappings without further ones on a line, but commands on one each."""


_Dumper.add_representer(
    _Commands,
    lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=False),
)


def _bridges(job: Job) -> dict[str, str]:
    """The names of switches as bridges on the user's machine: short, and no two the same."""
    bridges: dict[str, str] = {}
    for node in job.nodes:
        if node.bridge:
            short = node.name[:BRIDGE_NAME_MOST].rstrip("-.")
            taken = short in bridges.values() or (
                short != node.name and short in {other.name for other in job.nodes}
            )
            bridges[node.name] = f"br{len(bridges)}" if taken else short
    return bridges


def _node(node: Node) -> dict[str, Any]:
    labels = {"testbed-name": node.name}
    if node.bridge:
        return {"kind": "bridge", "labels": {**labels, **({"testbed-stp": "true"} if node.stp else {})}}
    router = node.role == "router"
    if router:
        labels["testbed-asn"] = str(node.asn)
    commands = (
        ["sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.all.forwarding=1"]
        if node.forwards
        else []
    )
    commands += [f"ip address add {address} dev lo" for address in node.loopbacks]
    for number, port in enumerate(node.interfaces, start=1):
        commands += [
            f"ip address add {address} dev eth{number}"
            for address in (port.address, port.address6)
            if address
        ]
    made: dict[str, Any] = {
        "kind": "linux",
        "image": ROUTER_IMAGE if router else HOST_IMAGE,
        "labels": labels,
    }
    return {**made, "exec": _Commands(commands)} if commands else made


def _end(node: Node, port: str, names: dict[str, str]) -> str:
    """An end of a link: eth0 is containerlab's management network; a bridge's ports are the machine's."""
    number = [interface.name for interface in node.interfaces].index(port) + 1
    return f"{names[node.name]}:{f'{names[node.name]}-{number}' if node.bridge else f'eth{number}'}"
