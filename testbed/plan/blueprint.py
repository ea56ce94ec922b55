"""The blueprint is the network with everything named, addressed and related, but nothing running yet.

It is what a role gets to see when it writes the configuration of its node; `drawing` makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from itertools import chain

from testbed.job import Link, Node, Title
from testbed.model.bgp import Accept, Announce, BgpSpec
from testbed.model.cdn import Fill
from testbed.model.prefixes import ANYCAST4, ANYCAST6, LanName
from testbed.model.reach import closure
from testbed.model.schema import Topology
from testbed.model.topology import Cdn
from testbed.plan.addresses import Block, Lan, Population
from testbed.plan.pki import Authority


@dataclass(frozen=True)
class Neighbor:
    """A BGP session as one of its ends sees it."""

    node: str
    asn: int
    address: str  # the neighbour's
    local_address: str
    relation: str  # what it is to us: customer, provider, peer, internal, oca, server, route-server, member
    family: int  # of the addresses and of the routes that the session carries; a session each
    bgp: BgpSpec = field(default_factory=BgpSpec)
    announce: Announce | None = None  # to the neighbour, in place of all that policy lets through
    accept: Accept | None = None  # from the neighbour
    client: bool = False  # it is a client of ours, who are a route reflector


@dataclass
class Network:
    """One AS: its routers and what it originates where."""

    name: str
    asn: int
    block: Block
    routers: list[str]  # node names
    resolver: str = ""
    # What it announces: by router, and what is announced since it is that of an interface (a LAN, a pin).
    originates: dict[str, list[IPv4Network | IPv6Network]] = field(default_factory=dict)
    connects: list[IPv4Network | IPv6Network] = field(default_factory=list)

    @property
    def announced(self) -> list[IPv4Network | IPv6Network]:
        """All that it announces, wherever."""
        return [*chain(*self.originates.values()), *self.connects]

    def is_part(self, prefix: IPv4Network | IPv6Network) -> bool:
        """Whether a prefix is a part of the network's, and nothing of it originates just that."""
        whole = [*self.block.whole, *self.announced]
        return prefix not in self.announced and any(
            prefix.version == each.version and prefix.subnet_of(each)  # type: ignore[arg-type]
            for each in whole
        )


@dataclass
class Blueprint:
    """The network as it will be; `nodes` and `links` are in the order in which they were added."""

    topology: Topology
    titles: tuple[Title, ...]
    authority: Authority
    networks: dict[str, Network] = field(default_factory=dict)
    lans: dict[LanName, Lan] = field(default_factory=dict)  # of exchanges and switches, one for each VLAN
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    neighbors: dict[str, list[Neighbor]] = field(default_factory=dict)
    lan_of: dict[str, Lan] = field(default_factory=dict)  # by link, of those with an end on a LAN
    populations: dict[str, Population] = field(default_factory=dict)  # as a scenario names them
    fill: Fill | None = None  # how OCAs come to hold what they do not at the start
    content: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of OCAs that do not hold all titles
    expired: frozenset[str] = frozenset()  # OCAs that have an expired certificate beside their own
    homes: dict[str, str] = field(default_factory=dict)  # the network of every node that is in one
    costs: dict[str, int] = field(default_factory=dict)  # OSPF's, by link, where one is written by hand

    @property
    def anycast(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The prefixes that every OCA announces, of the topology's families; none unless it is anycast."""
        cdn = self.topology.cdn
        if cdn is None or cdn.steering.mode != "anycast":
            return ()
        each = (("ipv4", ANYCAST4), ("ipv6", ANYCAST6))
        return tuple(prefix for family, prefix in each if family in self.topology.families)

    @property
    def cdn(self) -> Cdn:
        """The CDN; whoever asks is one of its servers, and so it is there."""
        assert self.topology.cdn is not None
        return self.topology.cdn

    def network_of(self, node: str) -> Network:
        """The AS that a node is attached to; KeyError if none, as a host on a LAN without routers."""
        return self.networks[self.homes[node]]

    def titles_on(self, oca: str) -> tuple[str, ...]:
        """The names of the titles that an OCA holds when the run starts."""
        return self.content.get(oca, tuple(title.name for title in self.titles))

    @cached_property
    def cones(self) -> dict[str, list[IPv4Network | IPv6Network]]:
        """What every network and its customers, and theirs, originate, by the network."""
        customers: dict[str, list[str]] = {name: [] for name in self.networks}
        for router, neighbors in self.neighbors.items():
            for neighbor in neighbors:
                if neighbor.relation == "customer":
                    customers[self.homes[router]].append(self.homes[neighbor.node])
        own = {
            name: list(dict.fromkeys(chain(*network.originates.values(), network.connects)))
            for name, network in self.networks.items()
        }
        return {
            name: list(dict.fromkeys(chain(*(own[each] for each in self.networks if each in reached))))
            for name in self.networks
            if (reached := closure(customers, name))
        }

    def by_role(self, role: str) -> Iterator[Node]:
        """The nodes of a role."""
        return (node for node in self.nodes.values() if node.role == role)
