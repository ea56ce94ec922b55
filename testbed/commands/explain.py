"""`testbed explain`: what came of each fault, step by step, with the packets that show it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer, progress, say, stdout, table
from testbed.units import show_duration

if TYPE_CHECKING:
    from testbed.aftermath import Aftermath


def explain(
    run: options.Run,
    fault: Annotated[int | None, typer.Option(help="Only the fault of this number, from 1.", min=1)] = None,
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """Tell what came of each fault: carrier, BFD, BGP, forwarding, steering, TCP, requests, players.

    Every time is since the fault. Packets are named as capture#frame: the file captures/CAPTURE.pcap in the
    run folder, and the frame's number in it, as Wireshark counts. A step that nothing shows is left out.

    Example: testbed explain latest --fault 1
    """
    from testbed import aftermath
    from testbed.measure.tables import Tables

    where = pipeline.find(run, out)
    tables = Tables(where)
    numbers = [each.id for each in tables.job.faults]
    if fault is not None and fault not in numbers:
        there = f"there are {', '.join(map(str, numbers))}" if numbers else "nothing was broken in it"
        say(f"testbed: {where} has no fault {fault}; {there}")
        raise typer.Exit(2)
    with progress(quiet=quiet) as show:
        found = aftermath.explain(tables, fault, show)
    if format is Format.json:
        answer({"run": str(where), "faults": [_told(each) for each in found]})
        return
    if not found:
        print("nothing was broken in this run")
    for each in found:
        _show(each)


def _show(found: Aftermath) -> None:
    from rich.markup import escape

    from testbed.aftermath import since

    fault = found.fault
    title = f"fault {fault.id}: {fault.kind} {fault.target} at {show_duration(found.at_ns)}"
    rows = (
        (
            since(step.t_ns - found.at_ns),
            step.stage,
            step.where,
            step.what,
            step.shown,
            step.until(found.at_ns),
        )
        for step in found.steps
    )
    table(title, ("after", "step", "where", "what", "packet", "last"), rows)
    for note in found.notes:
        stdout().print(f"[yellow]not all is told:[/] {escape(note)}")
    if found.cut_by:
        later = show_duration(found.until_ns)
        stdout().print(escape(f"At {later} fault {found.cut_by} strikes; what comes after is told there."))


def _told(found: Aftermath) -> dict[str, Any]:
    fault = found.fault
    return {
        "fault": fault.id, "kind": fault.kind, "target": fault.target, "at_ns": found.at_ns,
        "until_ns": found.until_ns, "cut_by": found.cut_by or None, "notes": list(found.notes),
        "steps": [
            {
                **dataclasses.asdict(step), "after_ns": step.t_ns - found.at_ns,
                "sights": [
                    {**dataclasses.asdict(sight), "file": f"captures/{sight.capture}.pcap"}
                    for sight in step.sights
                ],
            }
            for step in found.steps
        ],
    }  # fmt: skip
