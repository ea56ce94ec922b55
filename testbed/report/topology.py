"""The drawing of a network: a frame for every AS, access ISPs at the bottom, what broke marked.

Clients that hang on one router are one box. Frames stand in rows by their distance from those with
clients and are ordered within a row by where their neighbours stand (Sugiyama's barycentre
heuristic), which is all a network of tens of nodes needs, and always gives the same drawing. Inside a
frame the routers that lead out of it are on the side of the others; hosts hang behind their router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from testbed.impairments import shown
from testbed.job import Job, Link, Node
from testbed.units import show_duration, show_rate

WIDTH, HEIGHT, ACROSS, DOWN = 116, 44, 22, 46  # a box, and the gaps between boxes, in SVG units
MARGIN, TITLE, BETWEEN = 16, 24, 92  # around the boxes of a frame, above them, and between rows of frames
SWEEPS = 8
LETTER, LINE = 6.0, 15.0  # the room for a link's label
SPOTS = (0.5, 0.42, 0.58, 0.35, 0.65, 0.28, 0.72, 0.22, 0.78)  # where on its line a label may stand
INFRASTRUCTURE = frozenset({"router", "exchange", "route-server"})


@dataclass(frozen=True)
class Box:
    """A node, or all clients of one kind on one router."""

    name: str
    role: str
    note: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A rectangle: that of an AS on the drawing, or the room that a label takes."""

    left: float
    top: float
    wide: float
    tall: float

    def meets(self, other: Frame) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.left + other.wide
            and other.left < self.left + self.wide
            and self.top < other.top + other.tall
            and other.top < self.top + self.tall
        )


@dataclass
class Drawing:
    """Boxes by name with the middle of each, the frames around them, and the links between boxes."""

    boxes: dict[str, Box]
    links: dict[tuple[str, str], list[Link]]
    at: dict[str, tuple[float, float]] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)  # by the title of the AS
    width: float = 0
    height: float = 0


def draw(job: Job) -> str:
    """The network as an inline SVG; colours come from the page's style sheet."""
    drawing = lay_out(job)
    struck = _struck(job)
    wide, tall = drawing.width, drawing.height
    ocas = [node.name for node in job.nodes if node.role == "oca"]
    opening = (
        f'<svg class="net" viewBox="0 0 {wide:g} {tall:g}" width="{wide:g}"'
        f' style="min-width:{wide * 0.7:g}px" role="img" aria-label="{escape(_spoken(job))}">'
    )
    parts = [
        f'<rect class="as" x="{frame.left:g}" y="{frame.top:g}" width="{frame.wide:g}"'
        f' height="{frame.tall:g}" rx="10"/>'
        for frame in drawing.frames.values()
    ]
    lines = [_line(drawing, pair, links, struck) for pair, links in drawing.links.items()]
    parts += sorted(lines, key=lambda line: 'class="mark"' in line)  # no line crosses a mark
    parts += [  # over the lines, which may pass where a frame has its name
        f'<text class="as" x="{frame.left + 10:g}" y="{frame.top + 17:g}">{escape(title)}</text>'
        for title, frame in drawing.frames.items()
    ]
    for box in drawing.boxes.values():
        colour = f" o{ocas.index(box.name) % 8}" if box.name in ocas else ""
        parts.append(_box(drawing.at[box.name], box, struck, colour))
    parts += [
        f'<text class="of-link" x="{x:g}" y="{y + 4:g}">{escape(told)}</text>'
        for told, x, y in labels(drawing, struck)
    ]
    return "".join([opening, *parts, "</svg>"])


def _struck(job: Job) -> dict[str, list[int]]:
    """The faults that strike a node or a link, by its name in the job."""
    links = {name: link.name for link in job.links for name in (link.name, f"{link.b}--{link.a}")}
    struck: dict[str, list[int]] = {}
    for fault in job.faults:
        struck.setdefault(links.get(fault.target, fault.target), []).append(fault.id)
    return struck


def lay_out(job: Job) -> Drawing:
    """Where every box and every frame stands."""
    boxes, home = _boxes(job)
    links: dict[tuple[str, str], list[Link]] = {}
    for link in job.links:
        ends = home[link.a], home[link.b]
        links.setdefault((min(ends), max(ends)), []).append(link)
    near: dict[str, list[str]] = {name: [] for name in boxes}
    for one, other in links:
        near[one].append(other)
        near[other].append(one)
    within = _within(job, boxes, near)
    titles = list(dict.fromkeys(within.values()))
    beside: dict[str, list[str]] = {
        title: sorted({
            within[other] for name in boxes if within[name] == title for other in near[name]
        } - {title})
        for title in titles
    }  # fmt: skip
    clients = [title for title in titles if any(
        within[name] == title and box.role == "client" for name, box in boxes.items()
    )]  # fmt: skip
    ranks = _ordered(_layers(titles, clients, beside), beside)
    place = {title: (index + 0.5) / len(rank) for rank in ranks for index, title in enumerate(rank)}

    def toward(name: str) -> float:
        """Where those of other frames that a box is joined to stand, from 0 to 1."""
        far = [place[within[other]] for other in near[name] if within[other] != within[name]]
        return sum(far) / len(far) if far else 0.5

    drawing = Drawing(boxes, links)
    grids: dict[str, list[list[str]]] = {}
    for depth, rank in enumerate(ranks):
        for title in rank:
            members = [name for name in boxes if within[name] == title]
            rows = _rows(members, near, toward)
            if depth == len(ranks) - 1 and depth > 0:
                rows.reverse()
            elif depth > 0:  # between others: hosts stand beside their router, not in the way
                rows = [[name for row in rows for name in row]]
            grids[title] = rows
    _place(drawing, ranks, grids)
    return drawing


def _place(drawing: Drawing, ranks: list[list[str]], grids: Mapping[str, list[list[str]]]) -> None:
    """Give every frame and every box its place, the last rank on top."""

    def wide(title: str) -> float:
        return max(len(row) for row in grids[title]) * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN

    def tall(title: str) -> float:
        return len(grids[title]) * (HEIGHT + DOWN) - DOWN + MARGIN + TITLE + 6

    drawing.width = max(sum(map(wide, rank)) + (len(rank) + 1) * ACROSS for rank in ranks)
    top = 4.0
    for rank in reversed(ranks):
        gap = (drawing.width - sum(map(wide, rank))) / (len(rank) + 1)
        left, highest = gap, max(map(tall, rank))
        for title in rank:
            frame = Frame(left, top + (highest - tall(title)) / 2, wide(title), tall(title))
            drawing.frames[title] = frame
            for depth, row in enumerate(grids[title]):
                first = frame.left + frame.wide / 2 - (len(row) - 1) * (WIDTH + ACROSS) / 2
                y = frame.top + TITLE + 6 + HEIGHT / 2 + depth * (HEIGHT + DOWN)
                drawing.at |= {name: (first + i * (WIDTH + ACROSS), y) for i, name in enumerate(row)}
            left += frame.wide + gap
        top += highest + BETWEEN
    drawing.height = top - BETWEEN + 4


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


def _within(job: Job, boxes: Mapping[str, Box], near: Mapping[str, list[str]]) -> dict[str, str]:
    """The title of the frame that each box stands in: a host stands where its router does."""
    nodes = {node.name: node for node in job.nodes}
    titles: dict[int, str] = {}

    def own(name: str) -> str:
        node, network = nodes[boxes[name].members[0]], name.partition(".")[0]
        return titles.setdefault(node.asn, f"{network} · AS{node.asn}") if node.asn else network

    routers = {name: own(name) for name, box in boxes.items() if box.role in INFRASTRUCTURE}
    found = {}
    for name in boxes:
        above = [other for other in sorted(near[name]) if other in routers]
        found[name] = routers[name] if name in routers else routers[above[0]] if above else name
    return found


def _layers(names: list[str], first: list[str], near: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The names by their distance from the first ones; what cannot be reached comes last."""
    bottom = first or names[:1]
    layers, seen = [bottom], set(bottom)
    while following := [
        name for name in names if name not in seen and any(other in seen for other in near[name])
    ]:
        layers.append(following)
        seen |= set(following)
    alone = [name for name in names if name not in seen]
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


def _rows(
    members: list[str], near: Mapping[str, list[str]], toward: Callable[[str], float]
) -> list[list[str]]:
    """The boxes of one frame in rows, those that lead out of it first."""
    inside = {name: [other for other in near[name] if other in members] for name in members}
    border = [name for name in members if len(inside[name]) < len(near[name])]
    most = max(members, key=lambda name: len(inside[name]))
    rows = _layers(members, border or [most], inside)
    rows[0].sort(key=lambda name: (round(toward(name), 6), name))
    for above, row in pairwise(rows):
        parents = {name: [above.index(other) for other in inside[name] if other in above] for name in row}
        # What leads on stands in the middle, right behind its router, and hosts on both sides.
        hosts = [name for name in row if len(inside[name]) < 2]
        half = len(hosts) // 2
        mixed = [*hosts[:half], *(name for name in row if name not in hosts), *hosts[half:]]
        row[:] = sorted(mixed, key=lambda name: sum(parents[name]) / max(1, len(parents[name])))
    return rows


def labels(drawing: Drawing, struck: Mapping[str, list[int]]) -> list[tuple[str, float, float]]:
    """What is written on links, with its middle: never over a box or another label, else left out.

    Links of single hosts have none; the table of links has them all.
    """
    taken = [
        Frame(x - WIDTH / 2, y - HEIGHT / 2, WIDTH, HEIGHT) for x, y in drawing.at.values()
    ]  # fmt: skip
    taken += [
        Frame(frame.left, frame.top, LETTER * len(title) + 20, TITLE)
        for title, frame in drawing.frames.items()
    ]
    for pair, links in drawing.links.items():
        if any(link.name in struck for link in links):
            x, y = _middle(drawing, pair)
            taken.append(Frame(x - 16, y - 11, 32, 22))
    found = []
    for pair, links in drawing.links.items():
        roles = {drawing.boxes[name].role for name in pair}
        if not roles <= INFRASTRUCTURE | {"client"} or "route-server" in roles:
            continue
        told = _told(links, drawing.boxes)
        wide = LETTER * len(told) + 4
        (x1, y1), (x2, y2) = drawing.at[pair[0]], drawing.at[pair[1]]
        for part in SPOTS:
            x, y = x1 + (x2 - x1) * part, y1 + (y2 - y1) * part
            room = Frame(x - wide / 2, y - LINE / 2, wide, LINE)
            if not any(room.meets(other) for other in taken):
                taken.append(room)
                found.append((told, x, y))
                break
    return found


def _told(links: list[Link], boxes: Mapping[str, Box]) -> str:
    """A link's rate and delay in short; of an access link down and up, as the client sees it."""
    link = links[0]
    shapes = [link.a_to_b, link.b_to_a]
    ends = "", ""
    if link.a not in boxes or boxes[link.a].role == "client":
        shapes.reverse()
        ends = "↓", "↑"
    elif link.b not in boxes or boxes[link.b].role == "client":
        ends = "↓", "↑"
    rates = [f"{end}{show_rate(shape.rate_bps)}" for end, shape in zip(ends, shapes, strict=True)
             if shape.rate_bps]  # fmt: skip
    delays = [show_duration(shape.delay_ns) for shape in shapes]
    return " ".join([*dict.fromkeys(rates), "/".join(dict.fromkeys(delays))])


def _bend(drawing: Drawing, pair: tuple[str, str]) -> float:
    """How far below its ends a line passes: straight through boxes between them it must not."""
    (x1, y1), (x2, y2) = drawing.at[pair[0]], drawing.at[pair[1]]
    between = any(y == y1 and min(x1, x2) < x < max(x1, x2) for x, y in drawing.at.values())
    return HEIGHT * 0.9 if y1 == y2 and between else 0


def _middle(drawing: Drawing, pair: tuple[str, str]) -> tuple[float, float]:
    (x1, y1), (x2, y2) = drawing.at[pair[0]], drawing.at[pair[1]]
    return (x1 + x2) / 2, (y1 + y2) / 2 + _bend(drawing, pair)


def _line(drawing: Drawing, pair: tuple[str, str], links: list[Link], struck: Mapping[str, list[int]]) -> str:
    (x1, y1), (x2, y2) = drawing.at[pair[0]], drawing.at[pair[1]]
    hit = sorted({fault for link in links for fault in struck.get(link.name, [])})
    told = "\n".join(
        f"{link.name}{f' ({link.relation})' if link.relation else ''}\n"
        f"  there: {shown(link.a_to_b)}\n  back: {shown(link.b_to_a)}"
        for link in links[:3]
    ) + (f"\nand {len(links) - 3} more" if len(links) > 3 else "")
    bend = _bend(drawing, pair)
    path = f"M{x1:g},{y1:g}Q{(x1 + x2) / 2:g},{(y1 + y2) / 2 + 2 * bend:g} {x2:g},{y2:g}"
    mark = _mark(*_middle(drawing, pair), hit) if hit else ""
    kind = "link struck" if hit else "link"
    return f'<g class="{kind}"><title>{escape(told)}</title><path d="{path}"/>{mark}</g>'


def _box(middle: tuple[float, float], box: Box, struck: Mapping[str, list[int]], colour: str) -> str:
    x, y = middle
    hit = sorted({fault for member in (box.name, *box.members) for fault in struck.get(member, [])})
    mark = _mark(x + WIDTH / 2 - 6, y - HEIGHT / 2 + 2, hit) if hit else ""
    told = box.name if len(box.members) == 1 else f"{box.members[0]} to {box.members[-1]}"
    kind = f"{escape(box.role)}{colour}{' struck' if hit else ''}"
    below = box.note if box.role == "client" else "OCA" if box.role == "oca" else box.role
    return (
        f'<g class="node {kind}"><title>{escape(f"{told}: {box.role} {box.note}")}</title>'
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>'
        f'<text x="{x:g}" y="{y - 3:g}">{escape(box.name)}</text>'
        f'<text class="note" x="{x:g}" y="{y + 13:g}">{escape(below)}</text>{mark}</g>'
    )


def _mark(x: float, y: float, faults: list[int]) -> str:
    told = ",".join(str(fault) for fault in faults)
    wide = 20 + 7 * len(told)
    return (
        f'<g class="mark"><rect x="{x - wide / 2:g}" y="{y - 10:g}" width="{wide}" height="20" rx="10"/>'
        f'<text x="{x:g}" y="{y + 4:g}">⚡{told}</text></g>'
    )


def _spoken(job: Job) -> str:
    roles: dict[str, int] = {}
    for node in job.nodes:
        roles[node.role] = roles.get(node.role, 0) + 1
    struck = "; ".join(f"fault {fault.id} strikes {fault.target}" for fault in job.faults)
    return (
        f"Topology {job.topology}: {', '.join(f'{count} {role}' for role, count in roles.items())}. {struck}"
    )
