"""The options that several verbs share."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Never

import typer

from testbed import pipeline, registry
from testbed.terminal import Format, say
from testbed.units import Duration, Size, UnitError

if TYPE_CHECKING:
    from testbed.venues import Venue


class ClockKind(StrEnum):
    """How time passes in a run."""

    virtual = "virtual"
    wall = "wall"


Answer = Annotated[Format, typer.Option("-f", "--format", help="Print for people, or one JSON object.")]
At = Annotated[str, typer.Option("--at", help="Time since the scenario's start, as 61.5s; else its end.")]
Clock = Annotated[ClockKind, typer.Option(help="virtual: as fast as it computes; wall: as time passes.")]
Memory = Annotated[
    str | None,
    typer.Option(help="Of the guest, as 2GiB; by default 1GiB. Bytes repeat with the same memory only."),
]
Out = Annotated[Path, typer.Option(help="The folder under which <scenario>/<id>/ is made.", file_okay=False)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Run = Annotated[str, typer.Argument(help="A run folder, 'latest', or '<scenario>/latest'.", metavar="RUN")]
Runs = Annotated[Path, typer.Option("--out", help="The folder in which 'latest' is looked for.")]
Scenario = Annotated[Path, typer.Argument(help="The scenario's YAML file.", metavar="SCENARIO")]
Seed = Annotated[int | None, typer.Option(help="Replaces the scenario's seed.", min=0)]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Replaces a value of the scenario, as in faults.0.at=30s; may be repeated.",
        metavar="PATH=VALUE",
    ),
]
VenueKind = Annotated[str, typer.Option("--venue", help="Where it runs; 'testbed doctor' lists the venues.")]

RUNS = Path("runs")
_LEAST_MEMORY, _MOST_MEMORY = 2**28, 2**36


def memory_bytes(written: str | None) -> int:
    """How much memory was asked for, 0 if nobody did; exit 2 with what to write instead."""
    try:
        size = Size.parse(written) if written is not None else Size(0)
    except UnitError as wrong:
        say(f"testbed: --memory: {wrong}; {wrong.hint}")
        raise typer.Exit(2) from None
    if written is not None and not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        say(f"testbed: --memory: {size.shown()} is no guest's memory; write from 256MiB to 64GiB")
        raise typer.Exit(2)
    return int(size)


def moment(run: Path, at: str) -> tuple[int, int]:
    """The Unix time of a scenario's start, and the moment asked for, in ns since then; exit 2 if none."""
    guest = json.loads((run / "guest.json").read_text()) if (run / "guest.json").exists() else {}
    if "t0_unix_ns" not in guest:
        refuse(f"{run} did not finish: nobody knows when its scenario started")
    t0_ns = int(guest["t0_unix_ns"])
    if not at:
        return t0_ns, int(guest["end_unix_ns"]) - t0_ns
    try:
        return t0_ns, int(Duration.parse(at))
    except UnitError as wrong:
        refuse(f"--at: {wrong}; {wrong.hint}")


def refuse(message: str) -> Never:
    """Say what is wrong with what was asked, and exit with 2."""
    say(f"testbed: {message}")
    raise typer.Exit(2)


def venue(kind: str) -> Venue:
    """The venue that was asked for; exit 2 with the names there are if there is none of that name."""
    try:
        return pipeline.venue(kind)
    except KeyError:
        say(f"testbed: there is no venue {kind}; there are {', '.join(registry.kinds('venues'))}")
        raise typer.Exit(2) from None
