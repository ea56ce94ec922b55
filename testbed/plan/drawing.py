"""Drawing a blueprint, step by step: networks, LANs, hosts, links, servers, clients, BGP sessions.

Every step numbers things in the order of the file, and none numbers what another does, so a node more
at the end of any list of the file changes nothing about the others. Both families are always planned;
one that the topology does not have is left out where interfaces and sessions are made.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from testbed.job import Interface, Link, Node, Route, Shape, Title
from testbed.model.link import MTU
from testbed.model.pin_rules import pins
from testbed.model.prefixes import NoRoom, Prefixing, assign
from testbed.model.schema import CDN, LinkSpec, Topology, Wire
from testbed.model.topology import link_name
from testbed.plan.addresses import Block, End, Lan, PlanError, Taken, other_end
from testbed.plan.blueprint import Blueprint, Network
from testbed.plan.pki import Authority
from testbed.plan.sessions import Sessions, Told
from testbed.plan.shapes import shapes


@dataclasses.dataclass(frozen=True)
class _Side:
    """One end of a link that is to be drawn."""

    node: str
    end: End = dataclasses.field(default_factory=End)
    port: str = "eth"  # how its interface is called, before a number
    vlan: int = 0


@dataclasses.dataclass(frozen=True)
class _Line:
    """What a link does: the shape of what its first and second end send, and the longest packet."""

    shapes: tuple[Shape, Shape]
    mtu: int


def draw(topology: Topology, titles: tuple[Title, ...], authority: Authority) -> Blueprint:
    """The blueprint of a topology; PlanError if it is larger than the plan has room for."""
    try:
        prefixes = assign(topology)
    except NoRoom as problem:
        raise PlanError(f"{problem}; use fewer, or pin its prefix by hand") from None
    drawing = _Drawing(Blueprint(topology, titles, authority), prefixes)
    drawing.networks()
    drawing.bridges()
    drawing.hosts()
    drawing.wires()
    drawing.sessions.at_exchanges()
    drawing.default_routes()
    if topology.cdn:
        drawing.servers()
    drawing.clients()
    drawing.caches()
    drawing.sessions.inside()
    return drawing.done()


class _Drawing:
    """A blueprint that is being drawn."""

    def __init__(self, plan: Blueprint, prefixes: Prefixing) -> None:
        self._plan, self._topology, self._prefixes = plan, plan.topology, prefixes
        self.sessions = Sessions(plan)
        self._has4, self._has6 = (family in plan.topology.families for family in ("ipv4", "ipv6"))
        self._interfaces: dict[str, list[Interface]] = defaultdict(list)
        self._ports: dict[tuple[str, str], int] = {}  # how many interfaces of a node are called so
        self._macs: set[str] = set()
        pinned = [pin.takes for pin in pins(plan.topology)]
        self._taken4 = Taken(each for each in pinned if each.version == 4)
        self._taken6 = Taken(each for each in pinned if each.version == 6)

    # The steps.

    def networks(self) -> None:
        """The networks and their routers."""
        for name, known in self._topology.networks.items():
            block = Block(name, self._prefixes.networks[name], self._taken4, self._taken6)
            network = Network(name, known.asn, block, [f"{name}.{router}" for router in known.routers])
            self._plan.networks[name] = network
            for node, router in zip(network.routers, known.routers, strict=True):
                pinned = known.loopbacks.get(router)
                own = block.loopback(pinned.address, pinned.address6) if pinned else block.loopback()
                shown = self._shown(own)
                self._add(
                    Node(
                        name=node, role="router", asn=known.asn, isp="" if name == CDN else name,
                        forwards=True, loopbacks=tuple(each for each in (shown.v4, shown.v6) if each),
                    ), own, name,
                )  # fmt: skip
                self._originate(node, block.infrastructure, block.infrastructure6)
                if pinned:
                    self._announce(node, own)
            for origin in known.originate:
                prefix = ip_network(origin.prefix)
                for router in origin.at or known.routers[:1]:
                    own_prefixes = network.originates.setdefault(f"{name}.{router}", [])
                    if f"ipv{prefix.version}" in self._topology.families and prefix not in own_prefixes:
                        own_prefixes.append(prefix)

    def bridges(self) -> None:
        """Exchanges and switches, the LANs that they make, and the exchanges' places on them."""
        for key, prefixes in self._prefixes.lans.items():
            self._plan.lans[key] = Lan(key, prefixes, self._taken4, self._taken6)
        pinned = {
            (end, other): wire
            for wire in self._topology.links
            for end, other in (wire.endpoints, reversed(wire.endpoints))
            if end in self._topology.exchanges and not wire.vlan
        }
        for name, exchange in self._topology.exchanges.items():
            self._add(Node(name=name, role="exchange", asn=exchange.asn, bridge=True))
            lan = self._plan.lans[name, 0]
            server = lan.last()
            for member in exchange.members:
                wire = pinned.get((name, member))
                end = lan.first(wire.address, wire.address6) if wire else lan.first()
                if wire:
                    lan.nodes[member] = end
            if exchange.route_server:
                node = f"{name}.rs"
                self._add(Node(name=node, role="route-server", asn=exchange.asn), server)
                line = self._line(LinkSpec())
                self._connect(_Side(node, server), _Side(name, port="rs"), line)
        for name, switch in self._topology.switches.items():
            self._add(Node(name=name, role="switch", bridge=True, stp=switch.stp))

    def hosts(self) -> None:
        """The hosts, each with its first link."""
        for name, host in self._topology.hosts.items():
            if host.at in self._topology.routers:
                network = self._plan.network_of(host.at)
                pair = network.block.pair(
                    network.block.hosts, other_end(host.address), other_end(host.address6)
                )
                self._leaf(name, "host", host.at, pair, self._line(host))
                if host.address or host.address6:
                    self._announce(host.at, pair[0])
            else:
                lan = self._lan(host.at, host.vlan)
                lan.nodes[name] = own = lan.first(host.address, host.address6)
                self._add(Node(name=name, role="host"), own)
                port = _Side(host.at, port="host", vlan=host.vlan or 0)
                self._connect(_Side(name, own), port, self._line(host))

    def wires(self) -> None:
        """The links that the file names as such, and the BGP sessions of two networks over them."""
        for wire in self._topology.links:
            a, b = wire.endpoints
            line = self._line(wire, wire.forward, wire.backward)
            if wire.cost:
                self._plan.costs[self._topology.wire_name(wire)] = wire.cost
            bridges = [end for end in (a, b) if self._topology.is_lan(end)]
            if len(bridges) == 2:
                self._connect(_Side(a), _Side(b), line)
            elif bridges:
                self._port(wire, bridges[0], line)
            else:
                first = a if a in self._topology.routers else b
                block = self._plan.network_of(b if wire.relation == "customer" else first).block
                ends = block.pair(block.links, _two(wire.addresses), _two(wire.addresses6))
                self._connect(_Side(a, ends[0]), _Side(b, ends[1]), line, wire.relation or "")
                if wire.addresses or wire.addresses6:
                    for node, end in zip((a, b), ends, strict=True):
                        self._announce(node, end)
                if wire.relation:
                    told = Told(wire.bgp, wire.announce, wire.accept)
                    self.sessions.peer(a, b, wire.relation, ends, told)

    def default_routes(self) -> None:
        """A host on a LAN has its way out over the LAN's first router."""
        for name, host in self._topology.hosts.items():
            if host.at in self._topology.routers:
                continue
            lan = self._lan(host.at, host.vlan)
            router = next((node for node in lan.nodes if node in self._topology.routers), None)
            if router:
                routes = self._default_routes(lan.nodes[router])
                home = self._plan.homes[name] = self._plan.homes[router]
                at = self._plan.nodes[router]
                self._plan.nodes[name] = dataclasses.replace(
                    self._plan.nodes[name], routes=routes, asn=at.asn, isp="" if home == CDN else home
                )

    def servers(self) -> None:
        """The OCAs, the CDN's servers, and the resolvers."""
        cdn = self._topology.cdn
        assert cdn is not None
        for name, oca in self._topology.ocas.items():
            block = self._plan.network_of(oca.at).block
            ends = block.pair(block.ocas, other_end(oca.address), other_end(oca.address6))
            self._leaf(name, "oca", oca.at, ends, self._line(oca))
            shared = tuple(f"{prefix[1]}/{prefix.max_prefixlen}" for prefix in self._plan.anycast)
            self._plan.nodes[name] = dataclasses.replace(
                self._plan.nodes[name], asn=cdn.oca_asn, loopbacks=shared
            )
            announce = {oca.at: oca.announce} if oca.announce else {}
            self.sessions.peer(name, oca.at, "oca", (ends[1], ends[0]), Told(oca.bgp, announce))
            if oca.address or oca.address6:
                self._announce(oca.at, ends[0])
        for name, place in (("steering", cdn.control), ("authority", cdn.control), ("origin", cdn.origin)):
            self._service(name, name, place.at, place)
        for name in self._topology.served:
            network = self._plan.networks[name]
            network.resolver = f"{name}.resolver"
            self._service(network.resolver, "resolver", network.routers[0], LinkSpec())

    def clients(self) -> None:
        """Every population of clients on its router."""
        for isp_name, isp in self._topology.isps.items():
            block = self._plan.networks[isp_name].block
            for place, (name, clients) in enumerate(isp.clients.items(), start=1):
                at, access = f"{isp_name}.{clients.at}", self._topology.access[clients.access]
                population = block.population(f"{isp_name}.{name}")
                self._plan.populations[f"{isp_name}.{name}"] = population
                self._originate(at, population.prefix, population.prefix6)
                both = LinkSpec(mtu=access.up.mtu or access.down.mtu)
                line = self._line(both, access.up, access.down)
                for number in range(1, clients.count + 1):
                    leaf = f"{isp_name}.{name}.{number}"
                    self._leaf(leaf, "client", at, block.client(population), line, f"cl{place}-")

    def caches(self) -> None:
        """The RPKI caches."""
        for name, cache in self._topology.rpki.items():
            block = self._plan.network_of(cache.at).block
            self._leaf(name, "rpki-cache", cache.at, block.last_pair(block.services), self._line(cache))

    def done(self) -> Blueprint:
        """The blueprint, its nodes with their interfaces."""
        for name, node in self._plan.nodes.items():
            ports = sorted(self._interfaces[name], key=lambda port: not port.name.startswith("eth"))
            self._plan.nodes[name] = dataclasses.replace(node, interfaces=tuple(ports))
        return self._plan

    # What the steps are made of.

    def _add(self, node: Node, own: End | None = None, network: str = "") -> None:
        """Add a node without interfaces; `own` are the addresses that others know it by."""
        if own:
            shown = self._shown(own)
            node = dataclasses.replace(node, address=shown.address4, address6=shown.address6)
        self._plan.nodes[node.name] = node
        self._plan.neighbors[node.name] = []
        if network:
            self._plan.homes[node.name] = network

    def _leaf(
        self, name: str, role: str, at: str, ends: tuple[End, End], line: _Line, port: str = ""
    ) -> None:
        """Add a node with a link to a router, which is its way out; `ends` are the router's and its own."""
        router = self._plan.nodes[at]
        node = Node(
            name=name, role=role, asn=router.asn, isp=router.isp, routes=self._default_routes(ends[0])
        )
        self._add(node, ends[1], self._plan.homes[at])
        self._connect(_Side(name, ends[1]), _Side(at, ends[0], port or role), line)

    def _service(self, name: str, role: str, at: str, spec: LinkSpec) -> None:
        block = self._plan.network_of(at).block
        self._leaf(name, role, at, block.pair(block.services), self._line(spec), "srv")

    def _default_routes(self, gateway: End) -> tuple[Route, ...]:
        shown = self._shown(gateway)
        routes = (("0.0.0.0/0", shown.address4), ("::/0", shown.address6))
        return tuple(Route(prefix=prefix, via=via) for prefix, via in routes if via)

    def _lan(self, bridge: str, vlan: int | None) -> Lan:
        return self._plan.lans[self._topology.segments.get(bridge, bridge), vlan or 0]

    def _port(self, wire: Wire, bridge: str, line: _Line) -> None:
        """A router's or host's link to an exchange or a switch."""
        node = next(end for end in wire.endpoints if end != bridge)
        lan = self._lan(bridge, wire.vlan)
        if bridge in self._topology.switches:
            lan.nodes[node] = lan.last(wire.address, wire.address6)
            if node in self._topology.routers:
                self._connects(node, lan.prefixes.v4, lan.prefixes.v6)
        elif wire.vlan:  # the members on the exchange's own LAN have theirs
            lan.nodes[node] = lan.first(wire.address, wire.address6)
        sides = {node: _Side(node, lan.nodes[node]), bridge: _Side(bridge, vlan=wire.vlan or 0)}
        a, b = (sides[end] for end in wire.endpoints)
        self._connect(a, b, line)

    def _line(
        self, spec: LinkSpec, forward: LinkSpec | None = None, backward: LinkSpec | None = None
    ) -> _Line:
        below = self._topology.defaults.link
        return _Line(shapes(below, spec, forward, backward), spec.over(below).mtu or MTU)

    def _connect(self, a: _Side, b: _Side, line: _Line, relation: str = "") -> None:
        """Join two nodes by a link."""
        vlan = a.vlan or b.vlan
        name = link_name(*(self._topology.port(side.node, vlan) for side in (a, b)))
        ports = self._next_port(a), self._next_port(b)
        link = Link(
            name=name, a=a.node, a_interface=ports[0], b=b.node, b_interface=ports[1],
            a_to_b=line.shapes[0], b_to_a=line.shapes[1], relation=relation,
        )  # fmt: skip
        for here, there, port, shape in zip((a, b), (b, a), ports, line.shapes, strict=True):
            own, other = self._shown(here.end), self._shown(there.end)
            self._interfaces[here.node].append(Interface(
                name=port, link=name, mac=self._mac(here, name), address=own.v4, address6=own.v6,
                peer=there.node, peer_address=other.address4, peer_address6=other.address6,
                mtu=line.mtu, vlan=here.vlan, shape=shape,
            ))  # fmt: skip
        self._plan.links[name] = link
        for side in (a, b):
            if self._topology.is_lan(side.node):
                self._plan.lan_of[name] = self._lan(side.node, vlan)

    def _next_port(self, side: _Side) -> str:
        """The next name among a node's interfaces that are called so: eth from 0, others from 1."""
        key = (side.node, side.port)
        number = self._ports[key] = self._ports.get(key, -1 if side.port == "eth" else 0) + 1
        return f"{side.port}{number}"

    def _mac(self, side: _Side, link: str) -> str:
        """A MAC that stays: 02:00 and the IPv4 address, or 06 and a hash of the link and the end."""
        if side.end.v4:
            return "02:00:" + IPv4Address(side.end.address4).packed.hex(":")
        text = f"{link} {side.node}"
        while (mac := "06:" + hashlib.sha256(text.encode()).digest()[:5].hex(":")) in self._macs:
            text += "'"
        self._macs.add(mac)
        return mac

    def _shown(self, end: End) -> End:
        """An end's addresses of the families that the topology has."""
        return End(end.v4 if self._has4 else "", end.v6 if self._has6 else "")

    def _originate(self, router: str, v4: IPv4Network, v6: IPv6Network) -> None:
        """Have a router announce prefixes, of the families that the topology has."""
        announced = self._plan.network_of(router).originates.setdefault(router, [])
        announced += [each for each, has in ((v4, self._has4), (v6, self._has6)) if has]

    def _connects(self, router: str, v4: IPv4Network | None, v6: IPv6Network | None) -> None:
        """Have a router's network announce prefixes that one of its interfaces is in."""
        connects = self._plan.network_of(router).connects
        for each, has in ((v4, self._has4), (v6, self._has6)):
            if each and has and each not in connects:
                connects.append(each)

    def _announce(self, node: str, end: End) -> None:
        """Have an address announced that is pinned where its network announces nothing else."""
        if node not in self._topology.routers:
            return
        network = self._plan.network_of(node)
        prefixes, block = self._prefixes.networks[network.name], network.block
        v4, v6 = IPv4Interface(end.v4).network, IPv6Interface(end.v6).network
        outside4 = v4.subnet_of(prefixes.v4) and not v4.subnet_of(block.infrastructure)
        outside6 = v6.subnet_of(prefixes.v6) and not v6.subnet_of(block.infrastructure6)
        self._connects(node, v4 if outside4 else None, v6 if outside6 else None)


def _two(ends: list[str] | None) -> tuple[str, str] | None:
    return (ends[0], ends[1]) if ends else None
