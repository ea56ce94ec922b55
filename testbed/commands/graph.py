"""`testbed graph`: a network as a picture, or in the words of another tool."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.failures import LACKING
from testbed.terminal import say

if TYPE_CHECKING:
    from testbed.job import Job


class Form(StrEnum):
    """What a network can be made into."""

    svg = "svg"
    png = "png"
    mermaid = "mermaid"
    graphviz = "graphviz"
    containerlab = "containerlab"
    mininet = "mininet"


ENDINGS = {
    ".svg": Form.svg, ".png": Form.png, ".mmd": Form.mermaid, ".dot": Form.graphviz, ".gv": Form.graphviz,
    ".clab.yml": Form.containerlab, ".clab.yaml": Form.containerlab, ".py": Form.mininet,
}  # fmt: skip


def graph(
    of: Annotated[
        str, typer.Argument(help="A topology's YAML file, a run folder, or 'latest'.", metavar="TOPOLOGY|RUN")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; its ending says what it is.", dir_okay=False),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--as", help="What to write, where no file's ending says it.")
    ] = None,
    out: options.Runs = options.RUNS,
) -> None:
    """Draw a network (SVG, PNG), or export it to Mermaid, Graphviz, containerlab or a Mininet script.

    The endings are .svg, .png, .mmd, .dot, .clab.yml and .py; without -o it goes to stdout.

    Example: testbed graph topologies/metro.yaml -o metro.svg
    """
    wanted = form or next(
        (known for end, known in ENDINGS.items() if output and output.name.endswith(end)), None
    )
    if wanted is None:
        named = f"{output.name} says not" if output else "nothing says"
        say(f"testbed: {named} what to write; use one of {', '.join(ENDINGS)}, or --as {' | '.join(Form)}")
        raise typer.Exit(2)
    made = _made(_job(of, out), wanted)
    if output is not None:
        output.write_bytes(made)
        print(output)
    elif wanted is Form.png and sys.stdout.isatty():
        say("testbed: a PNG is nothing for a terminal; write it into a file with -o")
        raise typer.Exit(2)
    else:
        sys.stdout.buffer.write(made)


def _job(of: str, out: Path) -> Job:
    """The plan of a topology, or of a run."""
    if of.endswith((".yaml", ".yml")) and not Path(of).is_dir():
        return pipeline.bare(Path(of))
    from testbed.job import Job

    return Job.read(pipeline.find(of, out))


def _made(job: Job, form: Form) -> bytes:
    from testbed.graphs import containerlab, graphviz, mermaid, mininet

    try:
        match form:
            case Form.svg | Form.png:
                return graphviz.draw(job, form.value)
            case Form.graphviz:
                return graphviz.dot(job).encode()
            case Form.mermaid:
                return mermaid.mermaid(job).encode()
            case Form.containerlab:
                return containerlab.containerlab(job).encode()
            case Form.mininet:
                return mininet.mininet(job).encode()
    except graphviz.NoGraphviz as problem:
        say(f"testbed: {problem}")
        raise typer.Exit(LACKING) from None
