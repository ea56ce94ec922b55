"""`testbed plan`: the resolved network, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed import pipeline, registry
from testbed.commands import options
from testbed.configurations import configuration_of
from testbed.impairments import shown
from testbed.refusal import quoted, suggestion
from testbed.terminal import Format, answer, table
from testbed.units import Quantity, show_duration

if TYPE_CHECKING:
    from testbed.job import Interface, Job


def plan(
    file: Annotated[Path, typer.Argument(help="A scenario or a topology.", metavar="FILE")],
    seed: options.Seed = None,
    set: options.Sets = None,
    clock: options.Clock = options.ClockKind.virtual,
    policy: Annotated[
        bool, typer.Option("--policy", help="Show how the routers are configured, with comments.")
    ] = False,
    node: Annotated[
        str | None, typer.Option(help="With --policy, of this node only.", metavar="NAME")
    ] = None,
    format: options.Answer = Format.table,
) -> None:
    """Show the resolved network, its links, sessions, faults and checks; nothing is run.

    Of a topology alone it is the network. As JSON it is the job that a run would carry out, addresses,
    configuration files and all.

    Example: testbed plan scenarios/oca-crash.yaml -f json

    Example: testbed plan topologies/metro.yaml --policy --node north.core
    """
    job = pipeline.either(file, seed, set, clock.value)
    if policy or node:
        _show_policy(job, node, format)
    elif format is Format.json:
        print(job.dumps(), end="")
    else:
        show(job)


def _show_policy(job: Job, only: str | None, format: Format) -> None:
    """Print what the routing daemons are told, as they read it."""
    found = {node.name: told for node in job.nodes if (told := configuration_of(node))}
    if only is not None and only not in found:
        hint = suggestion(only, found, "'testbed plan FILE' lists the nodes")
        raise typer.BadParameter(f"no routing daemon runs on a node {quoted(only)}; {hint}")
    shown = found if only is None else {only: found[only]}
    if format is Format.json:
        answer(shown)
        return
    for name, files in shown.items():
        for path, text in files.items():
            print(f"# {name}: {path}\n{text}")


def show(job: Job) -> None:
    """Print a job for people."""
    what = (
        f"{job.scenario} on {job.topology}: {show_duration(job.duration_ns)}"
        if job.duration_ns
        else job.topology
    )
    print(f"{what}, seed {job.seed}, {job.clock} clock\n")
    table(
        "nodes",
        ("node", "role", "AS", "address", "interfaces", "runs"),
        (
            (
                node.name,
                node.role,
                node.asn or "",
                "\n".join(filter(None, (node.address, node.address6))),
                "\n".join(f"{port.name} {_addresses(port)} to {port.peer}" for port in node.interfaces),
                "\n".join(process.name for process in node.processes),
            )
            for node in job.nodes
        ),
    )
    table(
        "links",
        ("link", "relation", "there", "back"),
        ((link.name, link.relation, shown(link.a_to_b), shown(link.b_to_a)) for link in job.links),
    )
    table(
        "sessions",
        ("session", "client", "title", "ABR", "starts at"),
        ((play.id, play.client, play.title, play.abr, show_duration(play.start_ns)) for play in job.sessions),
    )
    table(
        "faults",
        ("fault", "kind", "target", "at", "lasts"),
        (
            (fault.id, fault.kind, fault.target, show_duration(fault.at_ns), show_duration(fault.lasts_ns))
            for fault in job.faults
        ),
    )
    table(
        "checks",
        ("check", "bounds"),
        ((check["kind"], _bounds(check)) for check in job.checks),
    )


def _addresses(port: Interface) -> str:
    own = ", ".join(filter(None, (port.address, port.address6)))
    return own or (f"(port in VLAN {port.vlan})" if port.vlan else "(port)")


def _bounds(planned: Mapping[str, Any]) -> str:
    """A check's bounds, quantities as one writes them."""
    kind, values = planned["kind"], {name: value for name, value in planned.items() if name != "kind"}
    check = registry.build("checks", kind, values)
    given = {name: getattr(check, name) for name in values if getattr(check, name) is not None}
    return ", ".join(
        f"{name} {value.shown() if isinstance(value, Quantity) else value}" for name, value in given.items()
    )
