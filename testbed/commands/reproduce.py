"""`testbed reproduce`: run a run again and compare."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from testbed import pipeline, provenance
from testbed.commands import options
from testbed.failures import say_unfinished
from testbed.job import Job
from testbed.terminal import Format, answer, progress, say


def reproduce(
    run: options.Run,
    venue: Annotated[
        str | None, typer.Option(help="Where it runs; by default where the first one ran.")
    ] = None,
    out: options.Out = options.RUNS,
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """Run a run again from its job.json, and compare every result file.

    Exit code 0 if all are the same, 1 if any differs.

    Example: testbed reproduce latest
    """
    first = pipeline.find(run, out)
    job, record = Job.read(first), first / "run.json"
    told = json.loads(record.read_text()) if record.is_file() else {}  # none where it was killed
    if not told.get("digest"):
        raise pipeline.Unfinished(f"{first} did not finish: there is nothing to compare with")
    if job.clock == "wall":
        say("a run on the wall clock does not repeat to the byte; expect differences")
    for name, version in provenance.versions().items():
        if told["versions"].get(name, version) != version:
            say(f"{name} was {told['versions'][name]} and is {version}; that may change the result")
    with progress(quiet=quiet) as show:
        again = pipeline.run(job, options.venue(venue or told["venue"]), out, show)
    if again.reason:
        say_unfinished(again.reason, again.evidence)
        raise typer.Exit(again.exit)
    differs = pipeline.differences(first, again.run)
    if format is Format.json:
        answer({"run": str(first), "again": str(again.run), "same": not differs, "differs": differs})
    else:
        for name in differs:
            print(f"differs: {name}")
        same = (
            f"same: all {len(told['files'])} result files" if not differs else f"{len(differs)} files differ"
        )
        print(f"{same}\n{first}\n{again.run}")
    raise typer.Exit(1 if differs else 0)
