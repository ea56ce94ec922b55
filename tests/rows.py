"""Rows of nodes for tests that measure links: each row is a path of its own, all rows share one guest."""

import itertools
from dataclasses import dataclass, field

from testbed.job import Interface, Job, Link, Node, Process, Route, Shape
from testbed.measure import tables
from testbed.venues.guest import Guest

MS = 1_000_000
S = 1_000 * MS
PLAIN = Shape(queue_packets=100_000)
# A sender's wire has a rate, as every wire has: without one a whole burst, or a whole window of TCP,
# arrives in one instant of the virtual clock, and nobody could say which packet came first.
WIRE = (Shape(rate_bps=1_000_000_000, queue_packets=100_000), PLAIN)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Nodes one after the other, `<name>-0`, `<name>-1` …; a hop is a link's shapes, forward and backward."""

    name: str
    hops: tuple[tuple[Shape, Shape], ...]
    sender: str = ""  # service of the first node; its configuration gets `to`, the last node's address
    sending: dict = field(default_factory=dict)
    receiver: str = ""  # service of the last node; its configuration gets `to`, the first node's address
    receiving: dict = field(default_factory=dict)
    captured: tuple[int, ...] = ()  # hops; all if there are none

    def node(self, place):
        return f"{self.name}-{place}"

    def link(self, hop):
        return f"{self.node(hop)}--{self.node(hop + 1)}"


def run(name, rows, folder, *, lasts_ns, clock="virtual", seed=7, faults=(), traces=None, sample_ns=20 * S):
    """Have the rows measured in one guest; the tables of what happened."""
    nodes, links = [], []
    for number, row in enumerate(rows, start=1):
        more_nodes, more_links = _laid_out(number, row)
        nodes += more_nodes
        links += more_links
    captures = [row.link(hop) for row in rows for hop in row.captured or range(len(row.hops))]
    job = Job(
        scenario=name, topology="rows", seed=seed, clock=clock, duration_ns=lasts_ns,
        epoch_ns=1_767_225_600 * S, zone="cdn.example", nodes=tuple(nodes), links=tuple(links),
        captures=tuple(captures), faults=tuple(faults), traces=traces or {}, sample_ns=sample_ns,
        settle_ns=1 * S,
    )  # fmt: skip
    (folder / "job.json").write_text(job.dumps())
    Guest().run(job, folder, lambda *_: None)
    tables.write(folder)
    return tables.Tables(folder)


def _laid_out(number, row):
    names = [row.node(place) for place in range(len(row.hops) + 1)]
    nets = [f"10.{number}.{hop}" for hop in range(len(row.hops))]
    interfaces = {name: [] for name in names}
    links = []
    for hop, (a, b) in enumerate(itertools.pairwise(names)):
        ends = []
        for side, (here, there) in enumerate(((a, b), (b, a))):
            interfaces[here].append(
                Interface(
                    name=f"eth{len(interfaces[here])}", link=row.link(hop),
                    mac=f"02:00:{side:02x}:00:{number:02x}:{hop:02x}",
                    address=f"{nets[hop]}.{side}/31", peer=there, peer_address=f"{nets[hop]}.{1 - side}",
                    shape=row.hops[hop][side],
                )
            )  # fmt: skip
            ends.append(interfaces[here][-1].name)
        forward, backward = row.hops[hop]
        links.append(
            Link(
                name=row.link(hop), a=a, a_interface=ends[0], b=b, b_interface=ends[1],
                a_to_b=forward, b_to_a=backward,
            )
        )  # fmt: skip
    first, last = f"{nets[0]}.0", f"{nets[-1]}.1"
    nodes = []
    for place, name in enumerate(names):
        routes, processes = [], []
        if place < len(row.hops):
            routes.append(Route(prefix=f"{nets[-1]}.0/31", via=f"{nets[place]}.1"))
        if place > 0:
            routes.append(Route(prefix=f"{nets[0]}.0/31", via=f"{nets[place - 1]}.0"))
        # the way to a network that the node is on itself needs no route
        own = {f"{nets[hop]}.0/31" for hop in (place - 1, place) if 0 <= hop < len(nets)}
        for end, service, given, to in (
            (0, row.sender, row.sending, last),
            (len(row.hops), row.receiver, row.receiving, first),
        ):
            if place == end and service:
                config = {**given, "to": to, "via": f"{nets[min(place, len(nets)) - 1]}.0"}
                processes.append(
                    Process(
                        name=service.partition(":")[2], service=service, config=config, needs_routes=True
                    )
                )  # fmt: skip
        nodes.append(
            Node(
                name=name, role="host", address=first if place == 0 else interfaces[name][0].address[:-3],
                forwards=True, interfaces=tuple(interfaces[name]),
                routes=tuple(route for route in routes if route.prefix not in own),
                processes=tuple(processes),
            )
        )  # fmt: skip
    return nodes, links
