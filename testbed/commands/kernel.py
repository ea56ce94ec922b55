"""`testbed kernel`: the guest's kernel."""

from __future__ import annotations

import typer

from testbed.commands import options
from testbed.terminal import progress

app = typer.Typer(no_args_is_help=True, help="Build the guest's kernel, or say where it lies.")


@app.command(context_settings={"auto_envvar_prefix": "TESTBED_KERNEL_BUILD"})
def build(quiet: options.Quiet = False) -> None:
    """Build the guest's kernel into the user's cache, unless it is there already.

    Takes some minutes the first time and none after that.

    Example: testbed kernel build
    """
    from testbed.kernel import build as building

    with progress(quiet=quiet) as show:
        kernel = building.ensure(show)
    print(kernel.linux)


@app.command()
def path() -> None:
    """Print where the guest's kernel lies, or will lie once it is built.

    Example: testbed kernel path
    """
    from testbed.kernel import build as building

    print(building.path() / "linux")
