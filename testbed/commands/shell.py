"""`testbed shell`: a topology, live, behind Mininet's prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import progress


def shell(
    topology: Annotated[Path, typer.Argument(help="The topology's YAML file.", metavar="TOPOLOGY")],
    command: Annotated[
        list[str] | None,
        typer.Option("-c", "--command", help="Run this instead of asking; may be repeated."),
    ] = None,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
) -> None:
    """Bring a topology up on the wall clock and give Mininet's prompt; Ctrl-D ends it and leaves nothing.

    Besides Mininet's commands there are: fault KIND name=value…, heal, capture LINK, tc LINK.

    Example: testbed shell topologies/metro.yaml -c 'north.homes.1 ping -c 3 oca-n1'
    """
    from testbed.kernel import build
    from testbed.venues import console
    from testbed.venues.guest import Guest

    job = pipeline.bare(topology, seed)
    guest = Guest()
    pipeline.ready(job, guest.kind, guest.lacks())
    commands = command or ([] if sys.stdin.isatty() else sys.stdin.read().splitlines())
    with progress(quiet=quiet) as show:
        kernel = build.ensure(show)
    with console.opened(kernel, guest, job, Path.cwd(), commands) as session:
        with progress(quiet=quiet) as show:
            session.await_shell(show)
        code = session.talk()
    raise typer.Exit(code)
