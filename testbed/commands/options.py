"""The options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pipeline, registry
from testbed.terminal import Format, say

if TYPE_CHECKING:
    from testbed.venues import Venue


class ClockKind(StrEnum):
    """How time passes in a run."""

    virtual = "virtual"
    wall = "wall"


Answer = Annotated[Format, typer.Option("-f", "--format", help="Print for people, or one JSON object.")]
Clock = Annotated[ClockKind, typer.Option(help="virtual: as fast as it computes; wall: as time passes.")]
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


def venue(kind: str) -> Venue:
    """The venue that was asked for; exit 2 with the names there are if there is none of that name."""
    try:
        return pipeline.venue(kind)
    except KeyError:
        say(f"testbed: there is no venue {kind}; there are {', '.join(registry.kinds('venues'))}")
        raise typer.Exit(2) from None
