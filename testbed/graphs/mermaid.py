"""A network as a Mermaid flowchart, which GitHub, GitLab and many editors draw from the text."""

from __future__ import annotations

from testbed.graphs.outline import Box, outline
from testbed.job import Job

SHAPES = {"router": "()", "exchange": "{{}}", "switch": "{{}}"}  # rounded, a hexagon; all else is a box


def mermaid(job: Job) -> str:
    """The flowchart; nodes are numbered, since Mermaid takes some names for words of its own."""
    drawn = outline(job)
    ids = {name: f"n{number}" for number, name in enumerate(drawn.boxes, start=1)}
    lines = ["---", f"title: {drawn.name}", "---", "flowchart LR"]
    for number, (group, boxes) in enumerate(drawn.groups.items(), start=1):
        if group:
            lines.append(f'  subgraph g{number}["{group}"]')
            lines += [f"    {ids[box.name]}{_shape(box, box.label)}" for box in boxes]
            lines.append("  end")
        else:
            lines += [f"  {ids[box.name]}{_shape(box, box.name)}" for box in boxes]
    lines += [f'  {ids[edge.a]} ---|"{edge.label}"| {ids[edge.b]}' for edge in drawn.edges]
    return "\n".join(lines) + "\n"


def _shape(box: Box, label: str) -> str:
    around = SHAPES.get(box.role, "[]")
    half = len(around) // 2
    return f'{around[:half]}"{label}"{around[half:]}'
