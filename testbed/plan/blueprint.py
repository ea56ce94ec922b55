"""The blueprint is the network with everything named, addressed and related, but nothing running yet.

It is what a role gets to see when it writes the configuration of its node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from testbed.job import Interface, Link, Node, Route, Shape, Title
from testbed.model.schema import LinkSpec, Topology
from testbed.plan.addresses import Block, exchange_lan
from testbed.plan.pki import Authority
from testbed.plan.shapes import shapes

CDN = "cdn"


@dataclass(frozen=True)
class Neighbor:
    """A BGP session as one of its ends sees it."""

    node: str
    asn: int
    address: str  # the neighbour's
    local_address: str
    relation: (
        str  # what the neighbour is to us: customer, provider, peer, internal, oca, route-server, member
    )
    family: int = 4  # of the addresses and of the routes that the session carries; a session each


@dataclass
class Network:
    """One AS: its routers and what it originates where."""

    name: str
    asn: int
    block: Block
    routers: list[str]  # node names
    resolver: str = ""
    originates: dict[str, list[IPv4Network]] = field(default_factory=dict)  # by router


@dataclass
class Blueprint:
    """The network while it is being drawn; `nodes` and `links` are in the order they were added."""

    topology: Topology
    titles: tuple[Title, ...]
    authority: Authority
    networks: dict[str, Network] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    neighbors: dict[str, list[Neighbor]] = field(default_factory=dict)
    members: dict[str, list[str]] = field(
        default_factory=dict
    )  # of exchanges, as nodes with an address on the LAN

    def add(self, node: Node) -> None:
        """Add a node without interfaces."""
        self.nodes[node.name] = node
        self.neighbors[node.name] = []

    def connect(
        self, a: str, b: str, addresses: tuple[str, str], shapes: tuple[Shape, Shape], relation: str = ""
    ) -> Link:
        """Join two nodes; `addresses` and `shapes` are a's and b's, a shape being of what that end sends."""
        number = len(self.links)
        names = (self._next_interface(a), self._next_interface(b))
        link = Link(
            name=f"{a}--{b}", a=a, a_interface=names[0], b=b, b_interface=names[1],
            a_to_b=shapes[0], b_to_a=shapes[1], relation=relation,
        )  # fmt: skip
        for side, (here, there) in enumerate(((a, b), (b, a))):
            interface = Interface(
                name=names[side], link=link.name,
                mac=f"02:00:{side:02x}:00:{number >> 8:02x}:{number & 255:02x}",
                address=addresses[side], peer=there, peer_address=addresses[1 - side].partition("/")[0],
                shape=shapes[side],
            )  # fmt: skip
            node = self.nodes[here]
            self.nodes[here] = dataclasses.replace(node, interfaces=(*node.interfaces, interface))
        self.links[link.name] = link
        return link

    def host(self, name: str, role: str, at: str, pair: tuple[str, str], shapes: tuple[Shape, Shape]) -> None:
        """Add a node with one link, to the router `at`, which is its way out."""
        router = self.nodes[at]
        own, gateway = pair[1], pair[0]
        self.add(Node(
            name=name, role=role, asn=router.asn, isp=router.isp, address=own.partition("/")[0],
            routes=(Route(prefix="0.0.0.0/0", via=gateway.partition("/")[0]),),
        ))  # fmt: skip
        self.connect(name, at, (own, gateway), shapes)

    def peer(self, a: str, b: str, relation: str, addresses: tuple[str, str]) -> None:
        """Have two nodes speak BGP; `relation` is what a is to b."""
        inverse = {"customer": "provider", "provider": "customer", "oca": "server", "route-server": "member"}
        ends = ((a, b, inverse.get(relation, relation)), (b, a, relation))
        for side, (here, there, what) in enumerate(ends):
            self.neighbors[here].append(Neighbor(
                node=there, asn=self.nodes[there].asn, address=addresses[1 - side],
                local_address=addresses[side], relation=what,
            ))  # fmt: skip

    def network_of(self, node: str) -> Network:
        """The AS that a node is attached to."""
        found = self.nodes[node]
        if found.role == "router":
            return self.networks[node.partition(".")[0]]
        return self.network_of(found.interfaces[0].peer)

    def by_role(self, role: str) -> Iterator[Node]:
        """The nodes of a role."""
        return (node for node in self.nodes.values() if node.role == role)

    def _next_interface(self, node: str) -> str:
        return f"eth{len(self.nodes[node].interfaces)}"


def draw(topology: Topology, titles: tuple[Title, ...], authority: Authority) -> Blueprint:
    """The blueprint of a topology."""
    plan = Blueprint(topology, titles, authority)
    _networks(plan)
    _exchanges(plan)
    _wires(plan)
    _internal_sessions(plan)
    _servers(plan)
    _clients(plan)
    return plan


def _networks(plan: Blueprint) -> None:
    cdn = plan.topology.cdn
    named = [(name, isp.asn, isp.routers) for name, isp in plan.topology.isps.items()]
    for number, (name, asn, routers) in enumerate([*named, (CDN, cdn.asn, cdn.routers)], start=1):
        block = Block(name, number)
        nodes = [f"{name}.{router}" for router in routers]
        for node in nodes:
            loopback = str(block.loopback())
            plan.add(Node(
                name=node, role="router", asn=asn, isp="" if name == CDN else name, address=loopback,
                forwards=True, loopbacks=(f"{loopback}/32",),
            ))  # fmt: skip
        originates = {node: [block.infrastructure] for node in nodes}
        plan.networks[name] = Network(name, asn, block, nodes, originates=originates)


def _exchanges(plan: Blueprint) -> None:
    for name, exchange in plan.topology.exchanges.items():
        plan.add(Node(name=name, role="exchange", asn=exchange.asn, bridge=True))
        plan.members[name] = []


def _wires(plan: Blueprint) -> None:
    lans = {name: exchange_lan(number) for number, name in enumerate(plan.topology.exchanges, start=1)}
    for wire in plan.topology.links:
        a, b = wire.endpoints
        both = shapes(plan.topology.defaults.link, wire, wire.forward, wire.backward)
        if a in lans or b in lans:
            exchange, member = (a, b) if a in lans else (b, a)
            plan.members[exchange].append(member)
            address = f"{lans[exchange][len(plan.members[exchange])]}/24"
            plan.connect(a, b, ("", address) if a in lans else (address, ""), both)
            continue
        owner = plan.network_of(b if wire.relation == "customer" else a)
        pair = owner.block.links.take()
        plan.connect(a, b, pair, both, wire.relation or "")
        if wire.relation:
            plan.peer(a, b, wire.relation, (pair[0].partition("/")[0], pair[1].partition("/")[0]))
    for name, lan in lans.items():
        _exchange_sessions(plan, name, lan, with_server=plan.topology.exchanges[name].route_server)


def _exchange_sessions(plan: Blueprint, exchange: str, lan: IPv4Network, *, with_server: bool) -> None:
    members = [(name, str(lan[place])) for place, name in enumerate(plan.members[exchange], start=1)]
    if not with_server:
        for place, (a, a_address) in enumerate(members):
            for b, b_address in members[place + 1 :]:
                plan.peer(a, b, "peer", (a_address, b_address))
        return
    server, address = f"{exchange}.rs", str(lan[254])
    plan.add(Node(name=server, role="route-server", asn=plan.nodes[exchange].asn, address=address))
    both = shapes(plan.topology.defaults.link, LinkSpec())
    plan.connect(server, exchange, (f"{address}/24", ""), both)
    for member, member_address in members:
        plan.peer(server, member, "route-server", (address, member_address))


def _internal_sessions(plan: Blueprint) -> None:
    for network in plan.networks.values():
        for place, a in enumerate(network.routers):
            for b in network.routers[place + 1 :]:
                plan.peer(a, b, "internal", (plan.nodes[a].address, plan.nodes[b].address))


def _servers(plan: Blueprint) -> None:
    topology = plan.topology
    cdn = topology.cdn
    for name, oca in topology.ocas.items():
        _server(plan, name, "oca", oca.at, oca)
        plan.nodes[name] = dataclasses.replace(plan.nodes[name], asn=cdn.oca_asn)
        interface = plan.nodes[name].interfaces[0]
        plan.peer(name, oca.at, "oca", (plan.nodes[name].address, interface.peer_address))
    for name, place in (("steering", cdn.control), ("authority", cdn.control), ("origin", cdn.origin)):
        _server(plan, name, name, place.at, place)
    with_hosts = {plan.network_of(oca.at).name for oca in topology.ocas.values()}
    with_hosts |= {name for name, isp in topology.isps.items() if isp.clients}
    for name, network in plan.networks.items():
        if name in with_hosts:
            network.resolver = f"{name}.resolver"
            _server(plan, network.resolver, "resolver", network.routers[0], LinkSpec())


def _server(plan: Blueprint, name: str, role: str, at: str, spec: LinkSpec) -> None:
    plan.host(
        name, role, at, plan.network_of(at).block.servers.take(), shapes(plan.topology.defaults.link, spec)
    )


def _clients(plan: Blueprint) -> None:
    for isp_name, isp in plan.topology.isps.items():
        network = plan.networks[isp_name]
        for name, clients in isp.clients.items():
            at = f"{isp_name}.{clients.at}"
            access = plan.topology.access[clients.access]
            pairs = network.block.population(f"{isp_name}.{name}")
            network.originates[at].append(pairs.prefix)
            up, down = (
                shapes(plan.topology.defaults.link, access.up)[0],
                shapes(plan.topology.defaults.link, access.down)[0],
            )
            for number in range(1, clients.count + 1):
                plan.host(f"{isp_name}.{name}.{number}", "client", at, pairs.take(), (up, down))
