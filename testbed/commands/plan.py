"""`testbed plan`: the resolved network, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed import pipeline, registry
from testbed.commands import options
from testbed.terminal import Format, table
from testbed.units import Quantity, show_duration, show_rate

if TYPE_CHECKING:
    from testbed.job import Job, Shape


def plan(
    scenario: options.Scenario,
    seed: options.Seed = None,
    set: options.Sets = None,
    clock: options.Clock = options.ClockKind.virtual,
    format: options.Answer = Format.table,
) -> None:
    """Show the resolved network, its links, sessions, faults and checks; nothing is run.

    As JSON it is the job that a run would carry out, addresses, configuration files and all.

    Example: testbed plan scenarios/oca-crash.yaml -f json
    """
    job = pipeline.plan(scenario, seed, set, clock.value)
    if format is Format.json:
        print(job.dumps(), end="")
    else:
        show(job)


def show(job: Job) -> None:
    """Print a job for people."""
    lasts = show_duration(job.duration_ns)
    print(f"{job.scenario} on {job.topology}: {lasts}, seed {job.seed}, {job.clock} clock\n")
    table(
        "nodes",
        ("node", "role", "AS", "address", "interfaces", "runs"),
        (
            (
                node.name,
                node.role,
                node.asn or "",
                node.address,
                "\n".join(
                    f"{port.name} {port.address or '(port)'} to {port.peer}" for port in node.interfaces
                ),
                "\n".join(process.name for process in node.processes),
            )
            for node in job.nodes
        ),
    )
    table(
        "links",
        ("link", "relation", "there", "back"),
        ((link.name, link.relation, _shape(link.a_to_b), _shape(link.b_to_a)) for link in job.links),
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


def _bounds(planned: Mapping[str, Any]) -> str:
    """A check's bounds, quantities as one writes them."""
    kind, values = planned["kind"], {name: value for name, value in planned.items() if name != "kind"}
    check = registry.build("checks", kind, values)
    given = {name: getattr(check, name) for name in values if getattr(check, name) is not None}
    return ", ".join(
        f"{name} {value.shown() if isinstance(value, Quantity) else value}" for name, value in given.items()
    )


def _shape(shape: Shape) -> str:
    parts = [show_rate(shape.rate_bps)] if shape.rate_bps else []
    parts.append(
        show_duration(shape.delay_ns) + (f" ± {show_duration(shape.jitter_ns)}" if shape.jitter_ns else "")
    )
    parts += [f"loss {100 * shape.loss.parameters[0]:g}%"] if shape.loss else []
    return ", ".join([*parts, f"queue {shape.queue_packets} packets"])
