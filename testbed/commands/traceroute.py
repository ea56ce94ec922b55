"""`testbed traceroute`: the way of a packet at any moment of a run, from the forwarding tables."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer, table
from testbed.units import show_duration

if TYPE_CHECKING:
    from testbed.job import Job
    from testbed.measure.forwarding import Address


def traceroute(
    run: options.Run,
    source: Annotated[str, typer.Argument(help="The node that sends.", metavar="FROM")],
    destination: Annotated[str, typer.Argument(help="A node, or an address.", metavar="TO")],
    at: options.At = "",
    ipv6: Annotated[bool, typer.Option("-6", "--ipv6", help="To the node's IPv6 address.")] = False,
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
) -> None:
    """Follow a packet through every node's forwarding table as it was; nothing is run.

    Delays are one way and those of the links as planned. Exit code 1 if the packet does not get there.

    Example: testbed traceroute latest north.homes.1 oca-ix1 --at 61.5s
    """
    from testbed.measure.tables import Tables
    from testbed.measure.traceroute import trace

    folder = pipeline.find(run, out)
    _, t_ns = options.moment(folder, at)
    tables = Tables(folder)
    address = _address(tables.job, destination, ipv6=ipv6)
    try:
        found = trace(tables, source, address, t_ns)
    except KeyError as wrong:
        options.refuse(f"{wrong.args[0]}; 'testbed plan' lists the nodes")
    if format is Format.json:
        hops = [dataclasses.asdict(hop) for hop in found.hops]
        answer({
            "from": source, "to": destination, "address": address, "t_ns": t_ns, "reached": found.reached,
            "end": found.end, "hops": hops,
        })  # fmt: skip
    else:
        rows = (
            (
                number, hop.node, hop.address, show_duration(hop.delay_ns), hop.link,
                f"{hop.prefix}{f', 1 of {hop.ways} ways' if hop.ways > 1 else ''}", ", ".join(hop.faults),
            )
            for number, hop in enumerate(found.hops)
        )  # fmt: skip
        title = f"{source} to {destination} ({address}) at {t_ns / 1e9:.3f} s"
        table(title, ("", "node", "address", "after", "goes on by", "route", "faults there"), rows)
        print(found.end)
    if not found.reached:
        raise typer.Exit(1)


def _address(job: Job, name: str, *, ipv6: bool) -> Address:
    node = next((node for node in job.nodes if node.name == name), None)
    if node is None:
        try:
            return ip_address(name)
        except ValueError:
            options.refuse(f"{name} is neither a node nor an address; 'testbed plan' lists the nodes")
    text = node.address6 if ipv6 else node.address
    if not text:
        options.refuse(f"{name} has no {'IPv6' if ipv6 else 'IPv4'} address{'' if ipv6 else '; try -6'}")
    return ip_address(text)
