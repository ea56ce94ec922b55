"""How a verdict is shown, whichever verb found it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testbed.terminal import KNOWN, MARKS, stdout, table

if TYPE_CHECKING:
    from testbed.verdict import Judgement


def show_verdict(run: Path, judgement: Judgement) -> None:
    """Print the checks, the faults' evidence and the verdict."""
    from rich.markup import escape

    if judgement.checks:
        table(
            "",
            ("check", "outcome", "measured", "wanted", "detail"),
            (
                (
                    check.kind,
                    MARKS[check.outcome],
                    escape(check.measured),
                    escape(check.wanted),
                    escape(check.detail),
                )
                for check in judgement.checks
            ),
            marked=True,
        )
    if judgement.faults:
        table(
            "",
            ("fault", "kind", "target", "took hold", "healed", "detail"),
            (
                (
                    fault.id,
                    fault.kind,
                    escape(fault.target),
                    KNOWN[fault.took_hold],
                    KNOWN[fault.healed],
                    escape(fault.detail),
                )
                for fault in judgement.faults
            ),
            marked=True,
        )
    for reason in judgement.trust:
        stdout().print(f"[yellow]not to be trusted:[/] {escape(reason)}")
    stdout().print(f"verdict: {MARKS[judgement.verdict]}  {escape(str(run))}", soft_wrap=True)
