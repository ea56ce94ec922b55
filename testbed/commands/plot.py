"""`testbed plot`: a connection of a run as a time-sequence plot."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer, say
from testbed.units import Duration, UnitError


class Direction(StrEnum):
    """Whose data is drawn: the client's, or the server's."""

    up = "up"
    down = "down"


def plot(
    run: options.Run,
    flow: Annotated[int, typer.Option(help="The connection: flow_id in the table flows.", min=1)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="An .svg, or an .html that can be zoomed.", dir_okay=False)
    ] = Path("flow.svg"),
    at: Annotated[
        str,
        typer.Option(
            help="Where it was captured; by default where the data was seen first.", metavar="POINT"
        ),
    ] = "",
    direction: Annotated[Direction | None, typer.Option(help="By default the one with more data.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="From this time of the scenario.", metavar="10s")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Up to this time.", metavar="12s")] = None,
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
) -> None:
    """Draw a TCP connection as tcptrace does: segments, acknowledgements, window, SACKs, what was sent again.

    Example: testbed plot latest --flow 12 --from 60s --to 64s -o flow.svg
    """
    from testbed.report import sequence

    where = pipeline.find(run, out)
    span = {"since_ns": _time(since), "until_ns": _time(until)}
    try:
        path = sequence.write(where, flow, output, at, direction.value if direction else "", **span)
    except sequence.NoFlow as problem:
        say(f"testbed: {problem}")
        raise typer.Exit(2) from None
    if format is Format.json:
        answer({"plot": str(path), "flow": flow})
    else:
        print(path)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(Duration.parse(text))
    except UnitError as problem:
        say(f"testbed: {problem}")
        raise typer.Exit(2) from None
