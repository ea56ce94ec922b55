"""`testbed steer`: which OCAs a client was, or would have been, told of, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed import pipeline, stats
from testbed.commands import options
from testbed.terminal import Format, answer, table
from testbed.units import show_duration

if TYPE_CHECKING:
    from testbed.services.control import Decision


def steer(
    run: options.Run,
    client: Annotated[str, typer.Argument(help="A client's node, or any address.", metavar="CLIENT")],
    title: Annotated[str, typer.Argument(help="A title.", metavar="TITLE")],
    at: options.At = "",
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
) -> None:
    """Have steering decide again for any client, title and moment of a run, and say why.

    It knows what the real one knew then: the reports and drains that its log has up to that moment.

    Example: testbed steer latest north.homes.1 film --at 61.5s
    """
    from testbed.job import Job
    from testbed.services.control import ControlPlane

    folder = pipeline.find(run, out)
    job = Job.read(folder)
    t0_ns, t_ns = options.moment(folder, at)
    address = _address(folder, job, client, t0_ns + t_ns)
    service = next(
        (process for node in job.nodes for process in node.processes if process.name == "steering"), None
    )
    if service is None:
        options.refuse(f"{folder} has no steering service")
    plane = ControlPlane(service.config)
    _replay(plane, folder, t0_ns + t_ns)
    decision = plane.steer(title, address, t0_ns + t_ns)
    if format is Format.json:
        choices = [choice.document() for choice in decision.choices]
        answer({
            "t_ns": t_ns, "client": client, "address": address, "title": title,
            "status": int(decision.status), **decision.answer, "choices": choices,
        })  # fmt: skip
        return
    _show(decision, f"{client} ({address}) asks for {title} at {show_duration(t_ns)}")


def _address(run: Path, job: Any, client: str, until_ns: int) -> str:
    """The address that a client asks from: of a node of both families that of its last question."""
    from ipaddress import ip_address

    from testbed.measure.steering import told

    node = next((node for node in job.nodes if node.name == client), None)
    if node is not None:
        own = [address for address in (node.address, node.address6) if address]
        asked = [
            row["client"] for row in told(run) if row["unix_ns"] <= until_ns and row.get("client") in own
        ]
        return str(asked[-1] if asked else own[-1])
    try:
        return str(ip_address(client))
    except ValueError:
        options.refuse(
            f"{client} is neither a node of this run nor an address; 'testbed plan' lists the nodes"
        )


def _replay(plane: Any, run: Path, until_ns: int) -> None:
    """Tell a control plane all that the run's own heard up to a moment."""
    from testbed.measure.steering import told

    documents: dict[str, dict[str, Any]] = {}
    for row in told(run):
        if row["unix_ns"] > until_ns:
            break
        if "report" in row:
            documents[row["report"]["oca"]] = row["report"]
            plane.report(row["report"], row["unix_ns"])
        elif "again" in row:
            plane.report(documents[row["again"]] | {"load": row["load"]}, row["unix_ns"])
        elif "drain" in row:
            plane.drain(row["drain"], draining=row["draining"])
        elif row.get("started"):
            plane.reports.clear()  # a new process has heard nothing yet


def _show(decision: Decision, asked: str) -> None:
    told = {url["oca"]: place for place, url in enumerate(decision.answer.get("urls", ()), start=1)}
    rows = [
        (
            choice.rank or "", choice.oca, told.get(choice.oca, ""), choice.why, choice.decided_by,
            stats.milliseconds(choice.age_ns),
        )
        for choice in decision.choices
    ]  # fmt: skip
    known = {choice.oca for choice in decision.choices}
    rows += [
        ("", oca, place, "the origin: last resort", "", "") for oca, place in told.items() if oca not in known
    ]
    if rows:
        table(asked, ("rank", "oca", "told", "why", "behind by", "report's age"), rows)
    else:
        print(asked)
    for problem in (decision.answer.get("error"), decision.answer.get("miss")):
        if problem:
            print(problem)
