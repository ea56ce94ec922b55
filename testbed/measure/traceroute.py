"""The way of a packet at a moment of a run, followed through the forwarding tables: nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.job import Interface, Job
from testbed.measure.forwarding import Address, Ends, Forwarding

if TYPE_CHECKING:
    from testbed.measure.query import Tables

_IN_FORCE = """
    select any_value(kind), target from events where fault > 0
    group by fault, target
    having coalesce(min(t_ns) filter (phase = 'began') <= $1, false)
       and coalesce(min(t_ns) filter (phase = 'ended') > $1, true)
    order by fault
"""


@dataclass(frozen=True)
class Hop:
    """A node that the packet gets to, and how it goes on from there; the last one goes on by no link."""

    node: str
    address: str  # of the interface that it comes in by, as traceroute shows it
    delay_ns: int  # one way from the start, by the delays of the links as planned
    link: str = ""  # by which it goes on
    prefix: str = ""  # of the route that says so
    ways: int = 0  # how many equally good ones there are (ECMP); the first is followed
    faults: tuple[str, ...] = ()  # in force on that link at that moment


@dataclass(frozen=True)
class Trace:
    """The hops, whether the packet gets there, and if not, why."""

    hops: tuple[Hop, ...]
    reached: bool
    end: str


def trace(tables: Tables, source: str, destination: Address, at_ns: int) -> Trace:
    """Follow a packet from a node to an address as the tables were; KeyError for a node that has none."""
    job, forwarding, ends = tables.job, Forwarding(tables), Ends(tables.job)
    if source not in forwarding.nodes:
        raise KeyError(f"{source} has no forwarding table")
    faults = [(target, kind) for kind, target in tables.sql(_IN_FORCE, at_ns)]
    ours = job.node(source)
    here = Hop(source, ours.address6 if destination.version == 6 else ours.address, 0)
    hops: list[Hop] = []

    def ended(why: str, *last: Hop, reached: bool = False) -> Trace:
        return Trace((*hops, *last), reached, why)

    while True:
        node = here.node
        if ends.owner(str(destination)) == node:
            return ended(f"{node} has {destination}", here, reached=True)
        route = forwarding.lookup(node, destination, at_ns)
        if route is None:
            return ended(f"{node} has no route to {destination}", here)
        if route.kind != "unicast":
            return ended(f"{node} drops it: its route {route.prefix} is a {route.kind}", here)
        gateway, link = route.via[0] or str(destination), route.link[0]
        struck = tuple(kind for target, kind in faults if target in (link, _flipped(link)))
        hops.append(replace(here, link=link, prefix=str(route.prefix), ways=len(route.via), faults=struck))
        met = ends.at(gateway, link)
        if met is None:
            return ended(f"nobody on {link} has {gateway}")
        following, entered = met
        if any(hop.node == following for hop in hops):
            return ended(f"a loop: {node} sends it back to {following}")
        delay_ns = here.delay_ns + _delay_ns(job, node, link, following, entered)
        own = entered.address6 if destination.version == 6 else entered.address
        here = Hop(following, own.partition("/")[0], delay_ns)


def _delay_ns(job: Job, node: str, name: str, following: str, entered: Interface) -> int:
    """The delay of the link, and on a LAN also that of the link behind the switch."""
    first, last = job.link(name), job.link(entered.link)
    delay_ns = (first.a_to_b if first.a == node else first.b_to_a).delay_ns
    if last.name != first.name:
        delay_ns += (last.b_to_a if last.a == following else last.a_to_b).delay_ns
    return delay_ns


def _flipped(link: str) -> str:
    return "--".join(reversed(link.split("--")))
