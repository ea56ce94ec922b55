"""`testbed looking-glass`: what a router had heard of a prefix, and what it used, at any moment of a run."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import Format, answer, table

if TYPE_CHECKING:
    from testbed.measure.forwarding import Address, Network
    from testbed.measure.looking_glass import View


def looking_glass(
    run: options.Run,
    node: Annotated[str, typer.Argument(help="A router's node.", metavar="NODE")],
    prefix: Annotated[str, typer.Argument(help="A prefix, or an address in one.", metavar="PREFIX")],
    at: options.At = "",
    out: options.Runs = options.RUNS,
    format: options.Answer = Format.table,
) -> None:
    """Show a router's route to a prefix and all that its neighbours announced, as they were at a moment.

    The route in force is that of the kernel's table; announcements are shown as they came, before any filter.

    Example: testbed looking-glass latest north.core 10.2.0.0/18 --at 61.5s
    """
    from testbed.measure.looking_glass import view
    from testbed.measure.tables import Tables

    folder = pipeline.find(run, out)
    _, t_ns = options.moment(folder, at)
    tables = Tables(folder)
    routers = sorted({router for (router,) in tables.sql("select distinct node from routes")})
    if node not in routers:
        options.refuse(
            f"{folder} has no forwarding table of {node}; there are {', '.join(routers) or 'none'}"
        )
    found = view(tables, node, _asked(prefix), t_ns)
    if format is Format.json:
        route = found.route and dataclasses.asdict(found.route)
        answer({
            "node": node, "prefix": found.prefix, "t_ns": t_ns, "route": route,
            "paths": [dataclasses.asdict(path) for path in found.paths],
        })  # fmt: skip
        return
    _show(found)


def _asked(text: str) -> Address | Network:
    try:
        return ip_network(text) if "/" in text else ip_address(text)
    except ValueError as wrong:
        options.refuse(f"{wrong}; write a prefix as 10.2.0.0/18 or an address as 10.2.0.1")


def _show(found: View) -> None:
    route, at = found.route, _seconds(found.at_ns)
    if route is None:
        print(f"{found.node} has no route to {found.prefix} at {at}")
    else:
        ways = ", ".join(
            f"{via + ' on ' if via else 'directly on '}{link}"
            for via, link in zip(route.via, route.link, strict=True)
        )
        set_by = f"(set by {route.protocol} at {_seconds(route.since_ns)})"
        print(f"{found.node} at {at}: {found.prefix} {ways or route.kind} {set_by}")
    rows = (
        (
            "*" if path.in_force else "", path.peer, path.as_path or "(empty)", path.next_hop,
            "" if path.local_pref is None else path.local_pref, "" if path.med is None else path.med,
            path.origin or "", " ".join(path.communities), _seconds(path.since_ns),
            "" if path.reachable else "next hop not reachable",
        )
        for path in found.paths
    )  # fmt: skip
    if found.paths:
        columns = (
            "",
            "from",
            "AS path",
            "next hop",
            "local pref",
            "MED",
            "origin",
            "communities",
            "since",
            "",
        )
        table("announced by neighbours, * in force", columns, rows)
    else:
        print("no neighbour announces it by BGP")


def _seconds(t_ns: int) -> str:
    return f"{t_ns / 1e9:.3f} s"
