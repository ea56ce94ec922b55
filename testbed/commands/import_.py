"""`testbed import`: a topology from what others have drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.terminal import say

if TYPE_CHECKING:
    from testbed.imports.draft import Draft

TOP_MOST = 1000  # the address plan has room for some more

File = Annotated[Path, typer.Argument(metavar="FILE")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The YAML file to write, instead of stdout.", dir_okay=False),
]

app = typer.Typer(
    no_args_is_help=True,
    help="Make a topology of the Internet Topology Zoo, CAIDA's AS relationships, containerlab or Mininet.",
)


@app.command(context_settings={"auto_envvar_prefix": "TESTBED_IMPORT_ZOO"})
def zoo(file: File, output: Output = None) -> None:
    """Import a network of the Internet Topology Zoo, GML or GraphML: an ISP with a router a node.

    Delays are those of light in fibre along the great circle, rates those that the file has.

    Example: testbed import zoo Abilene.gml -o topologies/abilene.yaml
    """
    from testbed.imports import zoo as source

    _write(source.read(file), output)


@app.command(context_settings={"auto_envvar_prefix": "TESTBED_IMPORT_CAIDA"})
def caida(
    file: File,
    top: Annotated[
        int,
        typer.Option(
            help="How many networks, those with the largest cones.", min=1, max=TOP_MOST, metavar="N"
        ),
    ],
    output: Output = None,
) -> None:
    """Import the largest networks of CAIDA's AS relationships (as-rel, serial-1 or -2; plain, .bz2 or .gz).

    Largest by customer cone; each is one router, and the links are those among them.

    Example: testbed import caida 20250801.as-rel2.txt.bz2 --top 20 -o topologies/caida.yaml
    """
    from testbed.imports import caida as source

    _write(source.read(file, top), output)


@app.command(context_settings={"auto_envvar_prefix": "TESTBED_IMPORT_CONTAINERLAB"})
def containerlab(file: File, output: Output = None) -> None:
    """Import a containerlab file: its hosts, bridges and routers, and the links between them.

    Example: testbed import containerlab lab.clab.yml -o topologies/lab.yaml
    """
    from testbed.imports import containerlab as source

    _write(source.read(file), output)


@app.command(context_settings={"auto_envvar_prefix": "TESTBED_IMPORT_MININET"})
def mininet(
    topo: Annotated[
        str,
        typer.Argument(
            help="FILE.py:TopoClass, or one of Mininet's as mininet.topo:LinearTopo.", metavar="TOPO"
        ),
    ],
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", help="An argument of the class; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    output: Output = None,
) -> None:
    """Import a Mininet topology class. Its file is run, as mn --custom would.

    Example: testbed import mininet fattree.py:FatTree --arg k=4 -o topologies/fattree.yaml
    """
    from testbed.imports import mininet as source

    _write(source.read(topo, dict(_argument(text) for text in arg or ())), output)


def _argument(text: str) -> tuple[str, object]:
    """A name and its value: a number where it reads as one, true and false as Python's."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(
            f"{text!r} is not a name and a value; write for example k=4", param_hint="--arg"
        )
    for read in (int, float):
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, {"true": True, "false": False, "none": None}.get(value.lower(), value)


def _write(draft: Draft, output: Path | None) -> None:
    """Write the topology, say what was assumed, and refuse what no topology can be made of."""
    import tempfile

    from testbed import pipeline

    text = draft.yaml()
    with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
        trial = Path(folder) / f"{draft.name}.yaml"
        trial.write_text(text, encoding="utf-8")
        pipeline.bare(trial)
    for note in draft.notes:
        say(f"note: {note}")
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
        print(output)
