"""Networks for tests: made by hand, wire by wire, and asked whether everybody reaches everybody."""

import dataclasses
import ipaddress
import json
from dataclasses import dataclass, field

from testbed.job import OUT, Interface, Job, Link, Node, Process, Route, Shape

S = 1_000_000_000


@dataclass
class Wiring:
    """Nodes and wires; every wire between two nodes that are not switches has a subnet of its own."""

    shape: Shape
    nodes: dict[str, dict] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def node(self, name, *, routes=(), processes=(), **fields):
        known = self.nodes.setdefault(
            name, {"role": "client", "interfaces": [], "routes": [], "processes": []} | fields
        )
        known["routes"] += [Route(prefix=prefix, via=via) for prefix, via in routes]
        known["processes"] += processes

    def service(self, node, name, call, **config):
        made = Process(name=name, service=f"probes:{call}", config=config, needs_routes=call != "serve")
        self.nodes[node]["processes"].append(made)

    def wire(self, a, b, addresses=((), ()), *, mtu=1500, vlan=0):
        """Join two nodes; `addresses` are a's and b's, with their length."""
        number = len(self.links)
        names = [f"eth{len(self.nodes[name]['interfaces'])}" for name in (a, b)]
        link = f"{a}--{b}"
        for side, (here, there) in enumerate(((a, b), (b, a))):
            own = {"address6" if ":" in each else "address": each for each in addresses[side]}
            self.nodes[here]["interfaces"].append(
                Interface(
                    name=names[side], link=link, mac=f"02:00:{side:02x}:00:00:{number:02x}", peer=there,
                    mtu=mtu, vlan=vlan if self.nodes[here].get("bridge") else 0, shape=self.shape, **own,
                )
            )  # fmt: skip
        self.links.append(
            Link(
                name=link, a=a, a_interface=names[0], b=b, b_interface=names[1], a_to_b=self.shape,
                b_to_a=self.shape,
            )
        )  # fmt: skip
        return names

    def mac(self, node, interface="eth0"):
        return next(each.mac for each in self.nodes[node]["interfaces"] if each.name == interface)

    def job(self, **changes):
        nodes = []
        for name, fields in self.nodes.items():
            held = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
            first = next(iter(held["interfaces"]), None)
            addresses = {
                key: str(ipaddress.ip_interface(getattr(first, key)).ip)
                for key in ("address", "address6")
                if first and getattr(first, key)
            }
            nodes.append(Node(name=name, **(addresses | held)))
        given = {
            "scenario": "wired", "topology": "by-hand", "seed": 1, "clock": "virtual", "duration_ns": 30 * S,
            "epoch_ns": 1_767_225_600 * S, "zone": "cdn.example", "nodes": tuple(nodes),
            "links": tuple(self.links), "captures": tuple(link.name for link in self.links),
            "settle_ns": 1 * S,
        }  # fmt: skip
        return Job(**(given | changes))


def asked(job, node, call, **config):
    """The job with a probe more; what it finds is `NODE.PROBE.json` in the run folder."""
    probe = Process(
        name=call, service=f"probes:{call}", config={**config, "result": f"{OUT}/{node}.{call}.json"},
        needs_routes=True,
    )  # fmt: skip
    nodes = (
        dataclasses.replace(each, processes=(*each.processes, probe)) if each.name == node else each
        for each in job.nodes
    )
    return dataclasses.replace(job, nodes=tuple(nodes))


def others(job, *roles):
    """For every node of these roles, all addresses that the others are known by."""
    known = {
        node.name: [each for each in (node.address, node.address6) if each]
        for node in job.nodes
        if node.role in roles
    }
    return {
        name: [each for other, addresses in known.items() if other != name for each in addresses]
        for name in known
    }


def found(run, name):
    """What a probe found, by `NODE.PROBE`."""
    return json.loads((run / f"{name}.json").read_text())
