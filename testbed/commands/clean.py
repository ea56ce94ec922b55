"""`testbed clean`: remove what earlier runs and builds left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import options
from testbed.terminal import Format, answer, progress, say, table
from testbed.units import Duration, UnitError, show_size


def clean(
    out: Annotated[
        Path, typer.Option(help="The folder that holds the runs.", file_okay=False)
    ] = options.RUNS,
    older: Annotated[
        str | None,
        typer.Option(help="Runs and kernels, too, that nobody has touched for so long.", metavar="720h"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it; else it is only listed.")] = False,
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """List what earlier runs and builds left that nobody needs, and with --yes remove it.

    That is runs that never finished and what broken builds left; with --older also old runs, and kernels that
    nobody starts. What changed within the last hour always stays.

    Example: testbed clean --older 720h --yes
    """
    from testbed import leftovers

    try:
        older_s = None if older is None else int(Duration.parse(older)) / 1e9
    except UnitError as problem:
        say(f"testbed: {problem}")
        raise typer.Exit(2) from None
    found = leftovers.found(out, older_s)
    sizes = [each.size for each in found]
    with progress(quiet=quiet or not yes) as show:
        for done, each in enumerate(found if yes else ()):
            show("clean", done, len(found))
            each.remove()
    if yes:
        leftovers.mend_links(out)
    total = sum(sizes)
    if format is Format.json:
        listed = [
            {"path": str(each.path), "why": each.why, "bytes": size}
            for each, size in zip(found, sizes, strict=True)
        ]
        answer({"removed": yes, "bytes": total, "leftovers": listed})
    elif not found:
        print("nothing to clean")
    else:
        table("", ("size", "what", "why"), (
            (_shown(size), each.path, each.why) for each, size in zip(found, sizes, strict=True)
        ))  # fmt: skip
        print(f"{_shown(total)} removed" if yes else f"{_shown(total)} in all; add --yes to remove it")


def _shown(size: int) -> str:
    """A size to three digits or so."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return show_size(size)
