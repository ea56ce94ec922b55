"""`testbed validate`: every error of the files, nothing run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import options
from testbed.terminal import Format, answer, say


def validate(
    files: Annotated[list[Path], typer.Argument(help="Topologies and scenarios.", metavar="FILE...")],
    format: options.Answer = Format.table,
) -> None:
    """Name every error of topologies and scenarios, with line and what to write instead.

    Nothing is run. Exit code 2 if there is any error.

    Example: testbed validate topologies/*.yaml scenarios/*.yaml
    """
    found = {str(path): _problems(path) for path in files}
    for problems, warnings in found.values():
        for problem in (*problems, *(f"warning: {warning}" for warning in warnings)):
            say(problem)
    if format is Format.json:
        answer({
            "files": {name: problems for name, (problems, _) in found.items()},
            "warnings": {name: warnings for name, (_, warnings) in found.items() if warnings},
        })  # fmt: skip
    else:
        for name, (problems, _) in found.items():
            if not problems:
                print(f"{name}: ok")
    if any(problems for problems, _ in found.values()):
        raise typer.Exit(2)


def _problems(path: Path) -> tuple[list[str], list[str]]:
    """What is wrong with a file, and what it is warned of."""
    from testbed import model, pipeline

    loaded: model.Loaded | model.LoadedTopology
    try:
        if pipeline.top_level_keys(path) & pipeline.SCENARIO_KEYS:
            loaded = model.load_scenario(path)
        else:
            loaded = model.load_topology(path)
    except model.Refused as refused:
        return [str(problem) for problem in refused.problems], []
    return [], [str(warning) for warning in loaded.warnings]
