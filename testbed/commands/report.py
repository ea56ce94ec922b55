"""`testbed report`: draw a run's report again."""

from __future__ import annotations

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer


def report(run: options.Run, out: options.Runs = options.RUNS, format: options.Answer = Format.table) -> None:
    """Draw the report of a run again, and say where it lies.

    One HTML file that needs nothing else: send it to anybody.

    Example: testbed report latest
    """
    path = pipeline.report(pipeline.find(run, out))
    if format is Format.json:
        answer({"report": str(path)})
    else:
        print(path)
