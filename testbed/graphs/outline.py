"""The outline of a network is what is drawn of it: a box a node, or for all clients of a population."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from testbed.job import Job, Link, Node
from testbed.units import show_duration, show_rate


@dataclass(frozen=True)
class Box:
    """A node, or a population of clients."""

    name: str
    role: str
    group: str  # what it is drawn in: "north · AS64501", or nothing
    nodes: tuple[Node, ...]

    @cached_property
    def label(self) -> str:
        """Its name inside of its group."""
        network = self.group.partition(" ")[0]
        own = self.name.removeprefix(f"{network}.")
        return f"{own} \u00d7 {len(self.nodes)}" if len(self.nodes) > 1 else own


@dataclass(frozen=True)
class Edge:
    """The links between two boxes, which are alike; `a` and `b` are the boxes' names."""

    a: str
    b: str
    link: Link

    @cached_property
    def label(self) -> str:
        """Its rate and delay, those of both directions where they differ."""
        shapes = self.link.a_to_b, self.link.b_to_a
        rates = [shape.trace or (show_rate(shape.rate_bps) if shape.rate_bps else "") for shape in shapes]
        delays = [show_duration(shape.delay_ns) for shape in shapes if any(each.delay_ns for each in shapes)]
        told = ("/".join(dict.fromkeys(filter(None, rates))), "/".join(dict.fromkeys(delays)))
        return " ".join(filter(None, told))


@dataclass(frozen=True)
class Outline:
    """What is drawn of a network, in the order of its plan."""

    name: str
    boxes: dict[str, Box]
    edges: list[Edge]

    @cached_property
    def groups(self) -> dict[str, list[Box]]:
        """The boxes by the group that they are in."""
        groups: dict[str, list[Box]] = {}
        for box in self.boxes.values():
            groups.setdefault(box.group, []).append(box)
        return groups


def outline(job: Job) -> Outline:
    """The outline of a planned network."""
    grouped: dict[str, list[Node]] = {}
    for node in job.nodes:
        one_of_many = node.role == "client" and node.name.count(".") > 1
        grouped.setdefault(node.name.rpartition(".")[0] if one_of_many else node.name, []).append(node)
    home = {node.name: name for name, nodes in grouped.items() for node in nodes}
    networks = {
        node.name: f"{node.name.partition('.')[0]} · AS{node.asn}"
        for node in job.nodes
        if node.role == "router"
    }
    boxes = {}
    for name, nodes in grouped.items():
        beside = [port.peer for port in nodes[0].interfaces]
        within = networks.get(name) or next((networks[other] for other in beside if other in networks), "")
        alone = nodes[0].bridge or nodes[0].role == "route-server"
        boxes[name] = Box(name, nodes[0].role, "" if alone else within, tuple(nodes))
    edges: dict[tuple[str, str], Edge] = {}
    for link in job.links:
        a, b = home[link.a], home[link.b]
        edges.setdefault((a, b), Edge(a, b, link))
    return Outline(job.topology, boxes, list(edges.values()))
