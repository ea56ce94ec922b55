"""`testbed doctor`: what each venue lacks here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(help="A scenario or a topology, whose daemons are to be here, too.", metavar="FILE"),
    ] = None,
    format: options.Answer = Format.table,
) -> None:
    """Name what each venue lacks on this machine, and the command that mends it.

    Exit code 0 if any venue is ready, else 3.

    Example: testbed doctor

    Example: testbed doctor topologies/metro.yaml
    """
    from testbed import doctor as diagnosis
    from testbed.provenance import versions

    found = diagnosis.diagnose(pipeline.either(file) if file else None)
    if format is Format.json:
        answer(
            {
                venue: {"ready": not lacks, "lacks": [dataclasses.asdict(lack) for lack in lacks]}
                for venue, lacks in found.items()
            }
        )
    else:
        for venue, lacks in found.items():
            print(f"{venue}: {'lacks' if lacks else 'ready'}")
            for lack in lacks:
                print(f"  {lack.what}\n    mend it with: {lack.fix}")
        print("found: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    raise typer.Exit(0 if not all(found.values()) else 3)
