"""The command line: `testbed VERB …`.

Answers go to stdout, messages and progress to stderr. Every option has an environment name, for example
TESTBED_RUN_SEED for `testbed run --seed`; the option wins.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import testbed
from testbed.commands import (
    check,
    clean,
    doctor,
    explain,
    export,
    graph,
    import_,
    kernel,
    kinds,
    looking_glass,
    packets,
    plan,
    plot,
    query,
    report,
    reproduce,
    run,
    schema,
    shell,
    steer,
    traceroute,
    validate,
)


class Verbs(TyperGroup):
    """The verbs, with the one place where exceptions become messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was named."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as problem:
            from testbed import failures

            if failures.passes(problem):
                raise
            raise typer.Exit(failures.exit_code(problem)) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"testbed {testbed.__version__}")
        raise typer.Exit


@app.callback()
def _testbed(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Emulate a content delivery network, break it, and judge what the packets show.

    Exit codes: 0 pass, 1 a check failed, 2 bad input, 3 something is lacking here,
    4 not to be trusted or unknown, 130 interrupted.

    Example: testbed run scenarios/oca-crash.yaml
    """


for verb in (
    validate.validate, plan.plan, run.run, check.check, query.query, report.report, reproduce.reproduce,
    explain.explain, export.export, plot.plot, looking_glass.looking_glass, traceroute.traceroute,
    packets.packets, steer.steer, shell.shell, graph.graph, doctor.doctor, kinds.kinds, schema.schema,
    clean.clean,
):  # fmt: skip
    app.command(context_settings={"auto_envvar_prefix": f"TESTBED_{verb.__name__.upper()}"})(verb)
app.add_typer(import_.app, name="import")
app.add_typer(kernel.app, name="kernel")


def main() -> None:
    """The program `testbed`."""
    app(prog_name="testbed")
