"""`testbed check`: judge a run again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.commands.verdicts import show_verdict
from testbed.terminal import Format, answer


def check(run: options.Run, out: options.Runs = options.RUNS, format: options.Answer = Format.table) -> None:
    """Judge a run again from its tables, without running it again.

    Exit code 0 pass, 1 a check failed, 4 unknown.

    Example: testbed check latest
    """
    folder: Path = pipeline.find(run, out)
    judgement = pipeline.judge(folder)
    if format is Format.json:
        answer({"run": str(folder), **dataclasses.asdict(judgement)})
    else:
        show_verdict(folder, judgement)
    raise typer.Exit(judgement.exit)
