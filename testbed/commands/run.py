"""`testbed run`: a scenario from its YAML to its report."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.commands.verdicts import show_verdict
from testbed.failures import say_unfinished
from testbed.terminal import Format, answer, called, progress, say

if TYPE_CHECKING:
    from testbed.pipeline import Result


def run(
    scenario: options.Scenario,
    seed: options.Seed = None,
    repeat: Annotated[
        int, typer.Option(help="Run it so often, each time with the next seed.", min=1, metavar="N")
    ] = 1,
    set: options.Sets = None,
    venue: options.VenueKind = "guest",
    clock: options.Clock = options.ClockKind.virtual,
    memory: options.Memory = None,
    out: options.Out = options.RUNS,
    format: options.Answer = Format.table,
    quiet: options.Quiet = False,
) -> None:
    """Run a scenario: emulate the network, strike the faults, judge what the packets show.

    Leaves a folder with captures, tables, verdict and report, and prints the verdict.

    Example: testbed run scenarios/oca-crash.yaml --seed 7 --set faults.0.at=30s
    """
    where = options.venue(venue)
    memory_bytes = options.memory_bytes(memory)
    jobs = [pipeline.plan(scenario, seed, set, clock.value)]
    jobs += [pipeline.plan(scenario, jobs[0].seed + turn, set, clock.value) for turn in range(1, repeat)]
    jobs = [dataclasses.replace(job, memory_bytes=memory_bytes) for job in jobs]
    results: list[Result] = []
    for turn, job in enumerate(jobs, start=1):
        if repeat > 1:
            say(f"run {turn} of {repeat}, seed {job.seed}")
        with progress(quiet=quiet) as show:
            results.append(pipeline.run(job, where, out, show))
        _show(results[-1], format)
        if results[-1].exit == pipeline.UNFINISHED:
            break  # the next one would not finish either
    if format is Format.json:
        told = [_told(result) for result in results]
        answer(
            told[0]
            if repeat == 1
            else {"verdict": _worst(results).verdict, "exit": _worst(results).exit, "runs": told}
        )
    raise typer.Exit(_worst(results).exit)


def _show(result: Result, format: Format) -> None:
    if result.reason:
        say_unfinished(result.reason, result.evidence)
        say(f"  what was recorded lies in {result.run}")
    elif format is Format.table:
        show_verdict(result.run, pipeline.judgement(result.run))
        wall = json.loads((result.run / "run.json").read_text())["clock"] == "wall"
        kind = "wall-clock" if wall else "virtual"
        print(f"{result.virtual_s:.0f} s of {kind} time in {result.real_s:.1f} s, seed {result.seed}")
        print(f"report:     {result.run / 'report.html'}")
        print(f"digest:     {result.digest}")
        print(
            f"reproduce:  {called()} reproduce {result.run}{' (not to the byte: wall clock)' if wall else ''}"
        )


def _told(result: Result) -> dict[str, Any]:
    return {
        "run": str(result.run),
        "verdict": result.verdict,
        "exit": result.exit,
        "seed": result.seed,
        "virtual_s": result.virtual_s,
        "real_s": result.real_s,
        "digest": result.digest,
    }


def _worst(results: list[Result]) -> Result:
    """The one whose exit code stands for all: not finished, then failed, then unknown."""
    order = (0, 4, 1, pipeline.UNFINISHED)
    return max(results, key=lambda result: order.index(result.exit))
