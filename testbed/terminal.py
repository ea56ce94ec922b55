"""What the user sees while and after something runs: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.venues import Progress

PLAIN_EVERY_S = 3.0  # a log is read afterwards: a few lines a minute tell enough

MARKS = {"pass": "[green]✓ pass[/]", "fail": "[red]✗ fail[/]", "unknown": "[yellow]? unknown[/]"}
KNOWN = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]unknown[/]"}


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    json = "json"


def stdout() -> Console:
    """The console for answers; as wide as they need where nobody's terminal limits it."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def say(message: str) -> None:
    """Print a message, which is no part of the answer, on stderr."""
    print(message, file=sys.stderr, flush=True)


def called() -> str:
    """What to type to call this program again: its path, unless the shell finds it by its name."""
    return "testbed" if shutil.which("testbed") or Path(sys.argv[0]).name != "testbed" else sys.argv[0]


def answer(data: Any) -> None:
    """Print the one JSON document that `-f json` promises."""
    print(json.dumps(data, indent=1, default=str), flush=True)


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    marked: bool = False,
    width: int | None = None,
) -> None:
    """Print rows as a table; `marked` cells hold rich's markup, others are shown as they are."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(
        title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(str(cell) if marked else escape(str(cell)) for cell in row))
    console = stdout()
    console.width = width or console.width
    console.print(drawn)


def records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows of any width: as a table if a terminal has room, else each with a line for a column.

    Into a pipe a table is as wide as it needs.
    """
    listed = [["" if cell is None else str(cell) for cell in row] for row in rows]
    wide = [max(map(len, column)) for column in zip(columns, *listed, strict=True)]
    console = stdout()
    if console.is_terminal and sum(wide) + 3 * len(wide) > console.width:
        longest = max(map(len, columns))
        for number, row in enumerate(listed, start=1):
            print(f"── row {number}")
            for name, cell in zip(columns, row, strict=True):
                print(f"{name:<{longest}}  {cell}".rstrip())
    else:
        table("", columns, listed, width=max(console.width, sum(wide) + 3 * len(wide)))


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Show how far a run is: a bar on a terminal, else a line now and then; nothing if `quiet`."""
    if quiet:
        yield lambda *_: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>14}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        shown = bars.add_task("starting", total=None, told="")

        def show(stage: str, done: float, of: float) -> None:
            bars.update(shown, description=stage, completed=done, total=of, told=_amount(stage, done, of))

        yield show


def _lines() -> Progress:
    last: tuple[str, float] = ("", 0.0)

    def show(stage: str, done: float, of: float) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= PLAIN_EVERY_S:
            last = (stage, now)
            say(f"{stage} {_amount(stage, done, of)}".rstrip())

    return show


def _amount(stage: str, done: float, of: float) -> str:
    """How much is done, in seconds where the stage is a time, else in percent."""
    if stage.endswith("time"):
        return f"{done:.0f} of {of:.0f} s"
    return f"{100 * done / of:.0f}%" if done and of else ""
