"""A network in Graphviz's language, and drawn by it: an AS a frame, a longer line for a longer delay."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from testbed.graphs.outline import Box, Edge, Outline, outline
from testbed.impairments import shown
from testbed.job import Job

FILL = {
    "router": "#dbe7f6", "exchange": "#fbe6c4", "switch": "#fbe6c4", "route-server": "#f3ead9",
    "oca": "#f9d5d3", "client": "#dcefd9", "host": "#dcefd9",
}  # fmt: skip
OTHERWISE = "#ebe6f4"  # servers of the control plane
NEAREST, FARTHEST = 0.9, 3.2  # inches between two boxes
CROWDED = 4  # links a box; with more of them lines are drawn straight
RESOLUTION_DPI = 110  # of a PNG
TIMEOUT_S = 120


class NoGraphviz(Exception):
    """Graphviz is not installed, or could not draw; the message says what to do."""


def dot(job: Job) -> str:
    """The network as a graph of Graphviz; `dot FILE` lays it out as it says itself."""
    drawn = outline(job)
    framed = [group for group, boxes in drawn.groups.items() if group and len(boxes) > 1]
    layered = bool(framed) and len([group for group in drawn.groups if group]) > 1
    lines = [f"graph {_quoted(drawn.name)} {{", *_style(drawn, layered=layered), ""]
    for number, (group, boxes) in enumerate(drawn.groups.items()):
        nodes = [f"{_quoted(box.name)} [{_node(box, whole=group not in framed)}]" for box in boxes]
        if group in framed and layered:
            lines += [
                f"  subgraph cluster_{number} {{",
                f"    label={_quoted(group)}; labeljust=l; fontsize=11",
            ]
            lines += [*(f"    {node}" for node in nodes), "  }"]
        else:
            lines += [f"  {node}" for node in nodes]
    longest = max((edge.link.a_to_b.delay_ns for edge in drawn.edges), default=0)
    lines += ["", *(f"  {line}" for line in _edges(drawn, longest, layered=layered)), "}"]
    return "\n".join(lines) + "\n"


def draw(job: Job, form: str) -> bytes:
    """The network as a picture, `svg` or `png`; NoGraphviz if it cannot be drawn here."""
    program = shutil.which("dot")
    if program is None:
        raise NoGraphviz(
            "drawing takes Graphviz, which is not installed\n  mend it with: apt-get install graphviz"
        )
    resolution = [f"-Gdpi={RESOLUTION_DPI}"] if form == "png" else []
    try:
        done = subprocess.run(
            [program, f"-T{form}", *resolution], input=dot(job).encode(), capture_output=True, check=True,
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoGraphviz(
            f"Graphviz takes more than {TIMEOUT_S} s to draw this; export it with --as graphviz"
        ) from None
    except subprocess.CalledProcessError as problem:
        raise NoGraphviz(f"Graphviz cannot draw this: {problem.stderr.decode(errors='replace')}") from None
    return done.stdout


def _style(drawn: Outline, *, layered: bool) -> Iterator[str]:
    same = _common(drawn)
    relations = {edge.link.relation for edge in drawn.edges}
    told = [drawn.name, *([f"{same} everywhere"] if same else [])]
    told += ["arrows to customers"] if relations & {"customer", "provider"} else []
    told += ["dashes between peers"] if "peer" in relations else []
    title = " · ".join(told)
    layout = "layout=dot, nodesep=0.35, ranksep=0.6" if layered else 'layout=neato, overlap=false, sep="+14"'
    lines = "true" if len(drawn.edges) < CROWDED * len(drawn.boxes) else "false"
    font = 'fontname="Helvetica,Arial,sans-serif"'
    yield f"  graph [{layout}, splines={lines}, outputorder=edgesfirst, labelloc=t,"
    yield f'         {font}, fontsize=14, style=rounded, color="#b9c0ca", pad=0.2,'
    yield f"         label={_quoted(title)}]"
    yield f'  node [shape=box, style="rounded,filled", color="#6b7685", {font}, fontsize=11,'
    yield '        height=0.3, margin="0.1,0.04"]'
    yield f'  edge [color="#8a94a3", {font}, fontsize=8, fontcolor="#4a5260"]'


def _node(box: Box, *, whole: bool) -> str:
    """A box's attributes; outside of a frame its label is its whole name."""
    label = box.name if whole and len(box.nodes) == 1 else box.label
    told = ", ".join(dict.fromkeys(node.address for node in (box.nodes[0], box.nodes[-1]) if node.address))
    fill = FILL.get(box.role, OTHERWISE)
    tooltip = f"{box.name}: {box.role} {told}".strip()
    return f'label={_quoted(label)}, fillcolor="{fill}", tooltip={_quoted(tooltip)}'


def _edges(drawn: Outline, longest_ns: int, *, layered: bool) -> Iterator[str]:
    same = _common(drawn)
    for edge in drawn.edges:
        label = edge.label.removeprefix(same).strip()
        link = edge.link
        tooltip = f"{link.name}\\nthere: {shown(link.a_to_b)}\\nback: {shown(link.b_to_a)}"
        said = [f"label={_quoted(label)}"] if label else []
        said.append(f"tooltip={_quoted(tooltip)}")
        if link.relation:
            said.append("style=dashed" if link.relation == "peer" else "dir=forward, arrowsize=0.5")
        if not layered:
            inches = NEAREST + (FARTHEST - NEAREST) * link.a_to_b.delay_ns / (longest_ns or 1)
            said.append(f"len={inches:.2f}")
        elif link.relation == "peer":
            said.append("constraint=false")  # side by side if possible
        yield f"{' -- '.join(map(_quoted, _downwards(drawn, edge)))} [{', '.join(said)}]"


def _downwards(drawn: Outline, edge: Edge) -> tuple[str, str]:
    """The ends of an edge, the higher one first: providers and exchanges, then routers, then the rest."""
    a, b = drawn.boxes[edge.a], drawn.boxes[edge.b]
    higher = {"exchange": 3, "switch": 2, "router": 2}
    turned = edge.link.relation == "customer" or higher.get(a.role, 0) < higher.get(b.role, 0)
    return (edge.b, edge.a) if turned else (edge.a, edge.b)


def _common(drawn: Outline) -> str:
    """What every link has in common, its rate and delay or its rate; empty where they differ."""
    labels = {edge.label for edge in drawn.edges}
    if len(labels) > 1:
        labels = {label.rpartition(" ")[0] for label in labels}
    return labels.pop() if len(labels) == 1 else ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
