"""The drawing of a network: clients at the bottom, what they reach above, what broke marked.

Clients that hang on one router are one box. Nodes stand in layers by their distance from the
clients and are ordered within a layer by where their neighbours stand (Sugiyama's barycentre
heuristic), which is all a network of tens of nodes needs, and always gives the same drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape

from testbed.job import Job, Link, Node, Shape
from testbed.units import show_duration, show_rate

WIDTH, HEIGHT, ACROSS, DOWN = 124, 46, 22, 62  # a box, and the gaps between boxes, in SVG units
SWEEPS = 8


@dataclass(frozen=True)
class Box:
    """A node, or all clients of one kind on one router."""

    name: str
    role: str
    note: str
    members: tuple[str, ...]


@dataclass
class Drawing:
    """Boxes by name with the middle of each, and the links between boxes."""

    boxes: dict[str, Box]
    links: dict[tuple[str, str], list[Link]]
    at: dict[str, tuple[float, float]] = field(default_factory=dict)
    width: float = 0
    height: float = 0


def draw(job: Job) -> str:
    """The network as an inline SVG; colours come from the page's style sheet."""
    drawing = lay_out(job)
    struck = _struck(job)
    opening = (
        f'<svg class="net" viewBox="0 0 {drawing.width:g} {drawing.height:g}" width="{drawing.width:g}"'
        f' role="img" aria-label="{escape(_spoken(job))}">'
    )
    parts = [_line(drawing, pair, links, struck) for pair, links in drawing.links.items()]
    parts += [_box(drawing.at[box.name], box, struck) for box in drawing.boxes.values()]
    return "".join([opening, *parts, "</svg>"])


def _struck(job: Job) -> dict[str, list[int]]:
    """The faults that strike a node or a link, by its name in the job."""
    links = {name: link.name for link in job.links for name in (link.name, f"{link.b}--{link.a}")}
    struck: dict[str, list[int]] = {}
    for fault in job.faults:
        struck.setdefault(links.get(fault.target, fault.target), []).append(fault.id)
    return struck


def lay_out(job: Job) -> Drawing:
    """Where every box stands."""
    boxes, home = _boxes(job)
    links: dict[tuple[str, str], list[Link]] = {}
    for link in job.links:
        ends = home[link.a], home[link.b]
        links.setdefault((min(ends), max(ends)), []).append(link)
    near: dict[str, list[str]] = {name: [] for name in boxes}
    for one, other in links:
        near[one].append(other)
        near[other].append(one)
    layers = _ordered(_layers(boxes, near), near)
    drawing = Drawing(boxes, links)
    widest = max(len(layer) for layer in layers)
    drawing.width = widest * (WIDTH + ACROSS) + ACROSS
    drawing.height = len(layers) * (HEIGHT + DOWN) - DOWN + 2 * ACROSS
    for depth, layer in enumerate(reversed(layers)):
        step = drawing.width / len(layer)
        for place, name in enumerate(layer):
            drawing.at[name] = (step * (place + 0.5), ACROSS + HEIGHT / 2 + depth * (HEIGHT + DOWN))
    return drawing


def _boxes(job: Job) -> tuple[dict[str, Box], dict[str, str]]:
    """The boxes by name, and the box that each node is in."""
    grouped: dict[str, list[Node]] = {}
    for node in job.nodes:
        one_of_many = node.role == "client" and node.name.count(".") > 1
        grouped.setdefault(node.name.rpartition(".")[0] if one_of_many else node.name, []).append(node)
    boxes: dict[str, Box] = {}
    home: dict[str, str] = {}
    for name, nodes in grouped.items():
        note = f"{len(nodes)} clients" if nodes[0].role == "client" else nodes[0].address
        boxes[name] = Box(name, nodes[0].role, note, tuple(node.name for node in nodes))
        home |= {node.name: name for node in nodes}
    return boxes, home


def _layers(boxes: Mapping[str, Box], near: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The boxes by their distance from the nearest clients; what cannot be reached stands on top."""
    bottom = [name for name, box in boxes.items() if box.role == "client"] or list(boxes)[:1]
    layers, seen = [bottom], set(bottom)
    while following := [
        name for name in boxes if name not in seen and any(other in seen for other in near[name])
    ]:
        layers.append(following)
        seen |= set(following)
    alone = [name for name in boxes if name not in seen]
    return [*layers, alone] if alone else layers


def _ordered(layers: list[list[str]], near: Mapping[str, Iterable[str]]) -> list[list[str]]:
    for _ in range(SWEEPS):
        place = {name: (index + 0.5) / len(layer) for layer in layers for index, name in enumerate(layer)}
        for layer in layers:
            middle = {
                name: sum(place[other] for other in near[name]) / len(list(near[name])) if near[name] else 0.5
                for name in layer
            }
            layer.sort(key=lambda name: (round(middle[name], 6), name))
            place |= {name: (index + 0.5) / len(layer) for index, name in enumerate(layer)}
    return layers


def _line(drawing: Drawing, pair: tuple[str, str], links: list[Link], struck: Mapping[str, list[int]]) -> str:
    (x1, y1), (x2, y2) = drawing.at[pair[0]], drawing.at[pair[1]]
    hit = sorted({fault for link in links for fault in struck.get(link.name, [])})
    told = "\n".join(
        f"{link.name}{f' ({link.relation})' if link.relation else ''}\n"
        f"  there: {shown(link.a_to_b)}\n  back: {shown(link.b_to_a)}"
        for link in links[:3]
    ) + (f"\nand {len(links) - 3} more" if len(links) > 3 else "")
    # Neighbours in a layer are joined below their boxes, or the line would run through those between.
    bend = HEIGHT * 0.9 if y1 == y2 else 0
    path = f"M{x1:g},{y1:g}Q{(x1 + x2) / 2:g},{(y1 + y2) / 2 + 2 * bend:g} {x2:g},{y2:g}"
    mark = _mark((x1 + x2) / 2, (y1 + y2) / 2 + bend, hit) if hit else ""
    kind = "link struck" if hit else "link"
    return f'<g class="{kind}"><title>{escape(told)}</title><path d="{path}"/>{mark}</g>'


def _box(middle: tuple[float, float], box: Box, struck: Mapping[str, list[int]]) -> str:
    x, y = middle
    hit = sorted({fault for member in (box.name, *box.members) for fault in struck.get(member, [])})
    mark = _mark(x + WIDTH / 2 - 6, y - HEIGHT / 2 + 2, hit) if hit else ""
    told = box.name if len(box.members) == 1 else f"{box.members[0]} to {box.members[-1]}"
    return (
        f'<g class="node {escape(box.role)}{" struck" if hit else ""}">'
        f"<title>{escape(f'{told}: {box.role} {box.note}')}</title>"
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>'
        f'<text x="{x:g}" y="{y - 3:g}">{escape(box.name)}</text>'
        f'<text class="note" x="{x:g}" y="{y + 14:g}">{escape(_below(box))}</text>{mark}</g>'
    )


def _below(box: Box) -> str:
    return (
        box.note
        if box.role == "client"
        else f"{box.role} {box.note}".strip()
        if len(box.note) < 8
        else box.role
    )


def _mark(x: float, y: float, faults: list[int]) -> str:
    told = ",".join(str(fault) for fault in faults)
    wide = 14 + 7 * len(told)
    return (
        f'<g class="mark"><rect x="{x - wide / 2:g}" y="{y - 10:g}" width="{wide}" height="20" rx="10"/>'
        f'<text x="{x:g}" y="{y + 4:g}">⚡{told}</text></g>'
    )


def shown(shape: Shape) -> str:
    """A direction of a link in the words of the YAML."""
    parts = [show_rate(shape.rate_bps)] if shape.rate_bps else []
    parts.append(show_duration(shape.delay_ns))
    parts += [f"jitter {show_duration(shape.jitter_ns)}"] if shape.jitter_ns else []
    parts += [f"loss {100 * shape.loss:g}%"] if shape.loss else []
    return ", ".join(parts)


def _spoken(job: Job) -> str:
    roles: dict[str, int] = {}
    for node in job.nodes:
        roles[node.role] = roles.get(node.role, 0) + 1
    struck = "; ".join(f"fault {fault.id} strikes {fault.target}" for fault in job.faults)
    return (
        f"Topology {job.topology}: {', '.join(f'{count} {role}' for role, count in roles.items())}. {struck}"
    )
