"""`testbed packets`: captures made by others become tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import options
from testbed.terminal import Format, answer, progress, records, say


def packets(
    files: Annotated[
        list[Path], typer.Argument(help="Captures, pcap or pcapng.", exists=True, dir_okay=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to make, with the folder tables in it.")
    ],
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """Make tables of captures taken elsewhere, of any size: packets, flows, bgp, dns and captures.

    What can be read of a damaged file is. Times are nanoseconds since 1970; nodes are called as the
    files are, interfaces as in a pcapng. Ask the tables with 'testbed query FOLDER SQL'.

    Example: testbed packets lab.pcapng -o lab
    """
    from testbed.measure import foreign

    with progress(quiet=quiet) as show:
        rows, problems = foreign.tabulate(files, output / "tables", show)
    for path, problem in problems.items():
        say(f"testbed: {path} {problem}")
    if format is Format.json:
        told = {str(path): problem for path, problem in problems.items()}
        answer({"tables": str(output / "tables"), "rows": rows, "problems": told})
    else:
        records(["table", "rows"], list(rows.items()))
    if not rows["packets"]:
        say("testbed: there is no packet in any of these files")
        raise typer.Exit(2)
