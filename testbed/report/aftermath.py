"""What came of each fault: a lane for each kind of step on a logarithmic axis, and the steps in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from testbed.aftermath import ORDER, Aftermath, Step, since
from testbed.report.story import Story

FIRST_NS = 100_000  # what comes sooner stands at the axis' beginning
DECADES = {
    10**5: "0.1 ms", 10**6: "1 ms", 10**7: "10 ms", 10**8: "0.1 s", 10**9: "1 s", 10**10: "10 s",
    10**11: "100 s", 10**12: "1000 s",
}  # fmt: skip
ROWS = 14  # as many as one reads at once; the rest unfolds


def draw(story: Story) -> str:
    """A picture and a table for each fault that struck."""
    told = [found for found in story.aftermaths if found.steps or found.notes]
    if not told:
        return "<p>Nothing was broken, or nothing shows what came of it.</p>"
    return "".join(_one(story, found) for found in told)


def place(after_ns: int, end_ns: int) -> float:
    """Where on the axis a time stands, in percent of its length."""
    span = math.log(max(end_ns, 10 * FIRST_NS) / FIRST_NS)
    share = math.log(max(after_ns, FIRST_NS) / FIRST_NS) / span
    return round(1 + 98 * min(max(share, 0), 1), 2)  # a dot at either end is whole


def _one(story: Story, found: Aftermath) -> str:
    fault = found.fault
    end_ns = max((step.t_ns - found.at_ns for step in found.steps), default=FIRST_NS)
    stages = [*(stage for stage in ORDER if any(step.stage == stage for step in found.steps))]
    stages += sorted({step.stage for step in found.steps} - set(stages))
    lanes = "".join(
        f'<div class="lane"><div class="label"><b>{escape(stage)}</b></div><div class="track">'
        f"{''.join(_dot(step, found, end_ns) for step in found.steps if step.stage == stage)}</div></div>"
        for stage in stages
    )
    ticks = "".join(
        f'<span style="left:{place(ns, end_ns)}%">{label}</span>'
        for ns, label in DECADES.items()
        if ns <= end_ns
    )
    axis = f'<div class="lane axis"><div class="label"></div><div class="track">{ticks}</div></div>'
    colour = escape(story.colour(fault.kind))
    title = f"⚡{fault.id} {fault.kind} {fault.target} at {fault.at_ns / 1e9:g} s"
    cut = (
        f"<p>At {found.until_ns / 1e9:g} s fault {found.cut_by} strikes; what comes after is told there.</p>"
        if found.cut_by
        else ""
    )
    cut += "".join(f'<p class="distrust">Not all is told: {escape(note)}.</p>' for note in found.notes)
    rest = found.steps[ROWS:]
    more = (
        f"<details><summary>{len(rest)} later steps</summary>{_rows(rest, found)}</details>" if rest else ""
    )
    return (
        f'<h3 class="fault" style="--fault:{colour}">{escape(title)}</h3>'
        f'<div class="aftermath" role="img" aria-label="{escape(title)}: {len(found.steps)} steps">'
        f"{lanes}{axis}</div>{_rows(found.steps[:ROWS], found)}{more}{cut}"
    )


def _dot(step: Step, found: Aftermath, end_ns: int) -> str:
    after_ns = step.t_ns - found.at_ns
    left = place(after_ns, end_ns)
    told = escape(f"{since(after_ns)} {step.where}: {step.what}")
    dot = f'<i class="dot" style="left:{left}%" title="{told}"></i>'
    if step.last_ns is None:
        return dot
    right = 100 - place(step.last_ns - found.at_ns, end_ns)
    return f'<i class="span" style="left:{left}%;right:{right:g}%"></i>{dot}'


def _rows(steps: Iterable[Step], found: Aftermath) -> str:
    columns = ("after", "step", "where", "what", "packet", "last")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = ""
    for step in steps:
        after, last = since(step.t_ns - found.at_ns), step.until(found.at_ns)
        told = zip(columns, (after, step.stage, step.where, step.what, step.shown, last), strict=True)
        cells = (f'<td data-label="{column}">{escape(cell)}</td>' for column, cell in told)
        body += f"<tr>{''.join(cells)}</tr>\n"
    table = f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>"
    return f'<div class="wide" tabindex="0"><table class="cards steps">{table}</table></div>'
