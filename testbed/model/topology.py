"""A topology as one may write it: who there is, and what lies between them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

from pydantic import Field

from testbed.model.bgp import Accept, Announce, BgpSpec, Bilateral, DaemonKind, Origin, OspfSpec
from testbed.model.cdn import Location, Steering, TimeToLive
from testbed.model.fields import Asn, Model, Name, SomeRate, SomeTime, Zone
from testbed.model.link import LinkSpec
from testbed.model.pins import Address4, Address6, End4, End6, Lan4, Lan6, Prefix4, Prefix6
from testbed.model.reach import Groups
from testbed.model.rpki import RpkiCache
from testbed.units import Duration

# What the address plan has room for.
ISPS_MOST, EXCHANGES_MOST, SWITCHES_MOST = 1224, 256, 1024
ROUTERS_MOST, MEMBERS_MOST, POPULATIONS_MOST, CLIENTS_MOST = 2000, 250, 8, 1024

Family = Literal["ipv4", "ipv6"]
Congestion = Literal["cubic", "reno", "bbr", "dctcp", "vegas", "westwood"]
Relation = Literal["customer", "provider", "peer"]
Vlan = Field(
    None, ge=2, le=4094, description="the VLAN that the port at the switch belongs to", examples=[100]
)
Where = Field(None, examples=["[52.5, 13.4]"], description="latitude and longitude; the ISP's if not given")
CDN = "cdn"  # the CDN's own network, among the names of the ISPs


class Defaults(Model):
    """What holds where nothing else is said."""

    link: LinkSpec = LinkSpec()
    daemon: DaemonKind = Field(default="bird", description="what routes on routers and route servers")
    bgp: BgpSpec | None = Field(default=None, examples=["{hold: 90s, bfd: {interval: 300ms}}"])


class Access(Model):
    """An access technology, per direction as the client sees it."""

    down: LinkSpec = Field(examples=["{rate: 40mbit, delay: 8ms}"])
    up: LinkSpec = Field(examples=["{rate: 6mbit, delay: 8ms}"])


class Clients(Model):
    """A population of like clients on one router of their ISP."""

    count: int = Field(ge=1, le=CLIENTS_MOST, examples=[8])
    at: str = Field(examples=["edge"], description="a router of the same ISP")
    access: str = Field(examples=["cable"], description="one of the access technologies")
    location: Location | None = Where


class Loopback(Model):
    """The address of a router itself, pinned by hand."""

    address: Address4 | None = Field(None, examples=["10.9.48.1"])
    address6: Address6 | None = Field(None, examples=["2001:db8:9::1"])


class Network(Model):
    """An AS with its routers, and how they route."""

    asn: Asn = Field(examples=[64501])
    routers: list[Name] = Field(min_length=1, max_length=ROUTERS_MOST, examples=["[core, edge]"])
    daemon: DaemonKind | None = Field(
        None, description="of its routers; as `defaults` has it where nobody says"
    )
    daemons: dict[str, DaemonKind] = Field(
        default_factory=dict, examples=["{edge: bird}"], description="of single routers"
    )
    bgp: BgpSpec | None = Field(None, description="of all sessions of its routers", examples=["{hold: 90s}"])
    ospf: OspfSpec | None = Field(None, examples=["{hello: 1s, dead: 4s}"])
    ecmp: int | None = Field(
        None,
        ge=1,
        le=64,
        examples=[4],
        description="so many equally good ways are used at once, by OSPF and by BGP",
    )
    route_reflectors: list[str] | None = Field(
        None,
        min_length=1,
        examples=["[core]"],
        description="routers that all others are clients of, in place of a full mesh (RFC 4456)",
    )
    clusters: dict[str, list[str]] | None = Field(
        None,
        min_length=1,
        examples=["{core: [edge]}"],
        description="route reflectors and the clients of each; the reflectors are meshed",
    )
    rov: bool | str = Field(
        default=False,
        description="its routers take no route from neighbours that is invalid by the ROAs (RFC 6811) of all "
        "RPKI caches, or of the one of that name",
    )
    originate: list[Origin] = Field(default_factory=list, examples=["[{prefix: 192.0.2.0/24}]"])
    prefix: Prefix4 | None = Field(None, examples=["10.9.0.0/16"])
    prefix6: Prefix6 | None = Field(None, examples=["2001:db8:9::/48"])
    loopbacks: dict[str, Loopback] = Field(default_factory=dict, description="by router")


class Isp(Network):
    """An AS with its routers and clients."""

    clients: dict[Name, Clients] = Field(default_factory=dict, max_length=POPULATIONS_MOST)
    location: Location | None = Field(
        None, examples=["[52.5, 13.4]"], description="latitude and longitude of its clients and OCAs"
    )


class Exchange(Model):
    """An exchange's switch, and its route server where it has one."""

    asn: Asn = Field(examples=[64520])
    members: list[str] = Field(min_length=1, max_length=MEMBERS_MOST, examples=["[north.core]"])
    route_server: bool = True
    daemon: DaemonKind | None = Field(None, description="of its route server")
    bgp: BgpSpec | None = Field(None, description="of the route server's sessions", examples=["{hold: 90s}"])
    bilateral: list[Bilateral] = Field(
        default_factory=list, examples=["[{members: [north.core, south.core]}]"]
    )
    prefix: Lan4 | None = Field(None, examples=["192.0.2.0/24"])
    prefix6: Lan6 | None = Field(None, examples=["2001:db8:9::/64"])


class Switch(Model):
    """A learning bridge; switches that are joined make one LAN, and another for each of their VLANs."""

    stp: bool = Field(False, description="it speaks the spanning tree protocol (IEEE 802.1D)")
    vlans: list[int] = Field(
        default_factory=list, max_length=8, examples=["[100, 200]"], description="on this LAN, from 2 to 4094"
    )
    prefix: Lan4 | None = Field(None, examples=["192.0.2.0/24"], description="of the LAN without a VLAN")
    prefix6: Lan6 | None = Field(None, examples=["2001:db8:9::/64"])


class Place(LinkSpec):
    """A server, and its link to a router."""

    at: str = Field(examples=["north.core"], description="a router, as <isp>.<router> or cdn.<router>")


class Oca(Place):
    """An OCA, and its link to a router."""

    cluster: Name | None = Field(
        None, examples=["north-oca"], description="OCAs that share a manifest; the site's router if not given"
    )
    location: Location | None = Where
    weight: float = Field(1.0, gt=0, strict=False, description="its share among equals")
    max_connections: int | None = Field(
        None, ge=1, examples=[20000],
        description="responses that it sends at a time, 503 to the rest; it is full at a share of them",
    )  # fmt: skip
    congestion: Congestion | None = Field(
        None,
        examples=["bbr"],
        description="TCP congestion control of all that it sends; the kernel's default",
    )
    pacing: SomeRate | None = Field(
        None, examples=["6mbit"], description="the most that a connection sends, its packets evenly spaced"
    )
    announce: Announce | None = Field(
        None, description="what its router tells it", examples=["{prefixes: [10.1.64.0/22], med: 100}"]
    )
    bgp: BgpSpec | None = Field(None, examples=["{hold: 90s}"])
    address: Address4 | None = Field(None, examples=["10.9.32.1"])
    address6: Address6 | None = Field(None, examples=["2001:db8:9::3"])


class Host(LinkSpec):
    """A host on which nothing runs, and its link to a router or switch."""

    at: str = Field(examples=["north.core"], description="a router, as <isp>.<router>, or a switch")
    vlan: int | None = Vlan
    address: Address4 | None = Field(None, examples=["10.9.40.1"])
    address6: Address6 | None = Field(None, examples=["2001:db8:9::5"])


class Cdn(Network):
    """The CDN's own network, its control plane and its origin."""

    oca_asn: Asn = Field(examples=[64601], description="of the OCAs, wherever they stand")
    zone: Zone = Field(examples=["cdn.example"])
    control: Place = Field(examples=["{at: cdn.pop}"])
    origin: Place = Field(examples=["{at: cdn.pop}"])
    report: SomeTime = Field(Duration.parse("5s"), description="how often an OCA reports to steering")
    stale: SomeTime = Field(Duration.parse("15s"), description="a report older than this no longer counts")
    grace: SomeTime = Field(
        Duration.parse("300s"), description="an OCA that could not report for so long stops serving"
    )
    ttl: TimeToLive = Field(
        Duration.parse("300s"), description="of the addresses of OCAs and of the CDN's servers in the DNS"
    )
    steering: Steering = Steering()
    urls: int = Field(3, ge=1, le=100, description="how many OCAs a client is told of")


class Wire(LinkSpec):
    """A link of routers, switches and hosts, or a router and an exchange; `forward` is from the first."""

    endpoints: list[str] = Field(min_length=2, max_length=2, examples=["[north.core, transit.a]"])
    relation: Relation | None = Field(None, description="what the first endpoint's AS is to the second's")
    cost: int | None = Field(
        None,
        ge=1,
        le=65535,
        examples=[10],
        description="OSPF's, both ways; 1 for 100us of delay if nobody says",
    )
    bgp: BgpSpec | None = Field(None, description="at both ends", examples=["{bfd: {interval: 300ms}}"])
    announce: dict[str, Announce] = Field(
        default_factory=dict,
        examples=["{north.core: {prepend: 2}}"],
        description="by the endpoint that announces, to the other one or at the exchange",
    )
    accept: dict[str, Accept] = Field(
        default_factory=dict,
        examples=["{north.core: {preference: 150}}"],
        description="by the endpoint that accepts",
    )
    vlan: int | None = Vlan
    addresses: list[End4] | None = Field(
        None, min_length=2, max_length=2, examples=["[10.9.0.0/31, 10.9.0.1/31]"],
        description="of both ends, in the order of the endpoints",
    )  # fmt: skip
    addresses6: list[End6] | None = Field(
        None, min_length=2, max_length=2, examples=["[2001:db8:9::2/127, 2001:db8:9::3/127]"]
    )
    address: Address4 | None = Field(
        None, examples=["192.0.2.7"], description="of the other end where one is an exchange or a switch"
    )
    address6: Address6 | None = Field(None, examples=["2001:db8:9::7"])
    forward: LinkSpec | None = None
    backward: LinkSpec | None = None


def link_name(a: str, b: str) -> str:
    """The name of a link in the plan and in every table."""
    return f"{a}--{b}"


class Topology(Model):
    """Networks, exchanges, switches, OCAs, clients, hosts, and the links between them."""

    name: Name = Field(examples=["metro"])
    families: list[Family] = Field(["ipv4", "ipv6"], min_length=1, max_length=2, examples=["[ipv4]"])
    defaults: Defaults = Defaults()
    access: dict[Name, Access] = Field(default_factory=dict)
    isps: dict[Name, Isp] = Field(
        default_factory=dict, max_length=ISPS_MOST, examples=["{north: {asn: 64501, routers: [core]}}"]
    )
    exchanges: dict[Name, Exchange] = Field(default_factory=dict, max_length=EXCHANGES_MOST)
    switches: dict[Name, Switch] = Field(default_factory=dict, max_length=SWITCHES_MOST)
    cdn: Cdn | None = Field(None, examples=["{asn: 64600, oca-asn: 64601, zone: cdn.example, ...}"])
    ocas: dict[Name, Oca] = Field(default_factory=dict)
    hosts: dict[Name, Host] = Field(default_factory=dict)
    rpki: dict[Name, RpkiCache] = Field(
        default_factory=dict, examples=["{cache: {at: north.core, roas: [...]}}"]
    )
    links: list[Wire] = Field(default_factory=list)

    @cached_property
    def networks(self) -> dict[str, Isp | Cdn]:
        """Every AS that has routers, by the name that their names start with."""
        return {**self.isps, CDN: self.cdn} if self.cdn else {**self.isps}

    @cached_property
    def routers(self) -> dict[str, str]:
        """The network of every router, by the router's node name."""
        return {f"{name}.{router}": name for name, known in self.networks.items() for router in known.routers}

    @cached_property
    def populations(self) -> dict[str, Clients]:
        """Every population of clients, as a scenario names it."""
        return {
            f"{isp}.{name}": clients
            for isp, known in self.isps.items()
            for name, clients in known.clients.items()
        }

    @cached_property
    def leaves(self) -> dict[str, str]:
        """Every node with a link of its own but the clients, and what is at the other end of that link."""
        leaves = {name: oca.at for name, oca in self.ocas.items()}
        leaves |= {name: cache.at for name, cache in self.rpki.items()}
        if self.cdn:
            leaves |= dict.fromkeys(("steering", "authority"), self.cdn.control.at)
            leaves["origin"] = self.cdn.origin.at
            leaves |= {f"{name}.resolver": f"{name}.{self.networks[name].routers[0]}" for name in self.served}
        leaves |= {name: self.port(host.at, host.vlan) for name, host in self.hosts.items()}
        return leaves | {
            f"{name}.rs": name for name, exchange in self.exchanges.items() if exchange.route_server
        }

    @cached_property
    def served(self) -> list[str]:
        """The networks that have clients or OCAs, and so need a resolver."""
        with_ocas = {oca.at.partition(".")[0] for oca in self.ocas.values()}
        return [
            name
            for name, known in self.networks.items()
            if name in with_ocas or (isinstance(known, Isp) and known.clients)
        ]

    @cached_property
    def nodes(self) -> frozenset[str]:
        """The names of all nodes but the clients."""
        return frozenset((*self.routers, *self.exchanges, *self.switches, *self.leaves))

    @cached_property
    def wires(self) -> frozenset[str]:
        """The names of all links but the clients'."""
        wires = (self.wire_name(wire) for wire in self.links)
        return frozenset((*wires, *(link_name(name, at) for name, at in self.leaves.items())))

    @cached_property
    def segments(self) -> dict[str, str]:
        """The first switch, in the order of the file, of those that each switch is joined with."""
        joined = Groups(self.switches)
        for wire in self.links:
            if all(end in self.switches for end in wire.endpoints):
                joined.join(*wire.endpoints)
        return {name: joined.first(name) for name in self.switches}

    def daemon_of(self, node: str) -> str:
        """The routing daemon of a router or a route server; an OCA's agent asks BIRD."""
        if node in self.routers:
            network = self.networks[self.routers[node]]
            return network.daemons.get(node.partition(".")[2]) or network.daemon or self.defaults.daemon
        exchange = self.exchanges.get(node.removesuffix(".rs"))
        return (exchange.daemon or self.defaults.daemon) if exchange else "bird"

    def caches_of(self, network: str) -> list[str]:
        """The RPKI caches that a network's routers ask."""
        rov = self.networks[network].rov
        return list(self.rpki) if rov is True else [rov] if rov else []

    def is_lan(self, name: str) -> bool:
        """Whether that is the name of an exchange or a switch."""
        return name in self.exchanges or name in self.switches

    def port(self, name: str, vlan: int | None) -> str:
        """An end of a link as the link's name has it: a port in a VLAN says which."""
        return f"{name}.{vlan}" if vlan and self.is_lan(name) else name

    def wire_name(self, wire: Wire) -> str:
        """A link's name: that of its endpoints, an exchange or switch with the VLAN if one is given."""
        a, b = (self.port(end, wire.vlan) for end in wire.endpoints)
        return link_name(a, b)

    def router_of(self, client: str) -> str | None:
        """The router that a client is on; None if there is no such client."""
        population, _, number = client.rpartition(".")
        clients = self.populations.get(population)
        if clients is None or not re.fullmatch("[1-9][0-9]{0,3}", number) or int(number) > clients.count:
            return None
        return f"{population.partition('.')[0]}.{clients.at}"

    def neighbors(self, router: str) -> list[str]:
        """Who a router speaks BGP with across a border: routers, OCAs, route servers."""
        found = [name for name, oca in self.ocas.items() if oca.at == router]
        for wire in self.links:
            if router in wire.endpoints:
                other = next((end for end in wire.endpoints if end != router), router)
                exchange = self.exchanges.get(other)
                if exchange is None:
                    found.append(other)
                    continue
                pairs = [pair.members for pair in exchange.bilateral]
                bilateral = [end for pair in pairs if router in pair for end in pair]
                served = [f"{other}.rs"] if exchange.route_server else []
                found += [*served, *(bilateral if served or pairs else exchange.members)]
        own = self.routers.get(router)
        strangers = (name for name in found if name not in self.switches and self.routers.get(name) != own)
        return list(dict.fromkeys(strangers))

    def has_node(self, name: str) -> bool:
        """Whether the plan will have a node of that name."""
        return name in self.nodes or self.router_of(name) is not None

    def has_link(self, name: str) -> bool:
        """Whether the plan will have a link of that name, its endpoints in either order."""
        a, _, b = name.partition("--")
        named = {link_name(a, b), link_name(b, a)}
        return not named.isdisjoint(self.wires) or b == self.router_of(a) or a == self.router_of(b)
