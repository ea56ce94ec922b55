"""`testbed export`: a run's packets and tables in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed import pipeline, registry
from testbed.commands import options
from testbed.terminal import Format, answer, progress, say


def export(
    run: options.Run,
    to: Annotated[
        str, typer.Option(help="The format; 'testbed kinds exports' lists them.", metavar="FORMAT")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file (or folder) to write; by default in the run."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Only what was captured at this point, node or link; may be repeated.", metavar="PLACE"
        ),
    ] = None,
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """Write a run for other programs: pcapng with TLS secrets, Arrow, Parquet, or a Perfetto trace.

    A pcapng has an interface named node.interface for every capture point, and comments where faults began
    and ended; Wireshark decrypts what was captured whole. It takes a packet's second sight, further along its
    way, for a retransmission: name one capture point with --at to look at TCP.

    Example: testbed export latest --to pcapng --at north.homes.1 -o home.pcapng
    """
    from testbed.exports import Nothing

    kinds = registry.kinds("exports")
    if to not in kinds:
        say(f"testbed: there is no format {to}; there are {', '.join(kinds)}")
        raise typer.Exit(2)
    kind, where = kinds[to](at or ()), pipeline.find(run, out)
    if at and not kind.picks:
        say(f"testbed: {to} is of the whole run; leave --at out, or export to pcapng")
        raise typer.Exit(2)
    into = output or where / f"{to}{kind.ending}"
    with progress(quiet=quiet) as show:
        try:
            count = kind.write(where, into, show)
        except Nothing as nothing:
            say(f"testbed: {nothing}")
            raise typer.Exit(2) from None
    if format is Format.json:
        answer({"path": str(into), "format": to, "count": count, "bytes": _size(into)})
    else:
        print(into)


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
