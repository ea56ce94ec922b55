"""A topology as one may write it: who there is, and what lies between them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

from pydantic import Field

from testbed.model.fields import Asn, Model, Name, SomeTime, Zone
from testbed.model.link import LinkSpec
from testbed.units import Duration

# What the address plan has room for.
ISPS_MOST, EXCHANGES_MOST, POPULATIONS_MOST, CLIENTS_MOST, ROUTERS_MOST = 238, 15, 8, 1024, 250

Relation = Literal["customer", "provider", "peer"]
CDN = "cdn"  # the CDN's own network, among the names of the ISPs


class Defaults(Model):
    """What holds where nothing else is said."""

    link: LinkSpec = LinkSpec()


class Access(Model):
    """An access technology, per direction as the client sees it."""

    down: LinkSpec = Field(examples=["{rate: 40mbit, delay: 8ms}"])
    up: LinkSpec = Field(examples=["{rate: 6mbit, delay: 8ms}"])


class Clients(Model):
    """A population of like clients on one router of their ISP."""

    count: int = Field(ge=1, le=CLIENTS_MOST, examples=[8])
    at: str = Field(examples=["edge"], description="a router of the same ISP")
    access: str = Field(examples=["cable"], description="one of the access technologies")


class Isp(Model):
    """An AS with its routers and clients."""

    asn: Asn = Field(examples=[64501])
    routers: list[Name] = Field(min_length=1, max_length=ROUTERS_MOST, examples=["[core, edge]"])
    clients: dict[Name, Clients] = Field(default_factory=dict, max_length=POPULATIONS_MOST)


class Exchange(Model):
    """An exchange's switch, and its route server where it has one."""

    asn: Asn = Field(examples=[64520])
    members: list[str] = Field(min_length=1, max_length=ROUTERS_MOST, examples=["[north.core]"])
    route_server: bool = True


class Host(LinkSpec):
    """A server, and its link to a router."""

    at: str = Field(examples=["north.core"], description="a router, as <isp>.<router> or cdn.<router>")


class Oca(Host):
    """An OCA, and its link to a router."""


class Cdn(Model):
    """The CDN's own network, its control plane and its origin."""

    asn: Asn = Field(examples=[64600])
    oca_asn: Asn = Field(examples=[64601], description="of the OCAs, wherever they stand")
    zone: Zone = Field(examples=["cdn.example"])
    routers: list[Name] = Field(min_length=1, max_length=ROUTERS_MOST, examples=["[pop]"])
    control: Host = Field(examples=["{at: cdn.pop}"])
    origin: Host = Field(examples=["{at: cdn.pop}"])
    report: SomeTime = Field(Duration.parse("5s"), description="how often an OCA reports to steering")
    stale: SomeTime = Field(Duration.parse("15s"), description="a report older than this no longer counts")
    urls: int = Field(3, ge=1, le=100, description="how many OCAs a client is told of")


class Wire(LinkSpec):
    """A link between two routers, or a router and an exchange; `forward` is from the first to the second."""

    endpoints: list[str] = Field(min_length=2, max_length=2, examples=["[north.core, transit.a]"])
    relation: Relation | None = Field(None, description="what the first endpoint's AS is to the second's")
    forward: LinkSpec | None = None
    backward: LinkSpec | None = None

    @property
    def name(self) -> str:
        """The link's name in the plan and in every table."""
        return "--".join(self.endpoints)


class Topology(Model):
    """Networks, exchanges, OCAs, clients, and the links between them."""

    name: Name = Field(examples=["metro"])
    defaults: Defaults = Defaults()
    access: dict[Name, Access] = Field(default_factory=dict)
    isps: dict[Name, Isp] = Field(
        min_length=1, max_length=ISPS_MOST, examples=["{north: {asn: 64501, routers: [core]}}"]
    )
    exchanges: dict[Name, Exchange] = Field(default_factory=dict, max_length=EXCHANGES_MOST)
    cdn: Cdn = Field(examples=["{asn: 64600, oca-asn: 64601, zone: cdn.example, ...}"])
    ocas: dict[Name, Oca] = Field(default_factory=dict)
    links: list[Wire] = Field(default_factory=list)

    @cached_property
    def networks(self) -> dict[str, Isp | Cdn]:
        """Every AS that has routers, by the name that their names start with."""
        return {**self.isps, CDN: self.cdn}

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
    def hosts(self) -> dict[str, str]:
        """Every node with one link but the clients, and the node at the other end of the link."""
        hosts = {name: oca.at for name, oca in self.ocas.items()}
        hosts |= dict.fromkeys(("steering", "authority"), self.cdn.control.at)
        hosts["origin"] = self.cdn.origin.at
        serving = {oca.at.partition(".")[0] for oca in self.ocas.values()}
        for name, known in self.networks.items():
            if name in serving or (isinstance(known, Isp) and known.clients):
                hosts[f"{name}.resolver"] = f"{name}.{known.routers[0]}"
        return hosts | {
            f"{name}.rs": name for name, exchange in self.exchanges.items() if exchange.route_server
        }

    @cached_property
    def nodes(self) -> frozenset[str]:
        """The names of all nodes but the clients."""
        return frozenset((*self.routers, *self.exchanges, *self.hosts))

    @cached_property
    def wires(self) -> frozenset[str]:
        """The names of all links but the clients'."""
        return frozenset(
            (*(wire.name for wire in self.links), *(f"{name}--{at}" for name, at in self.hosts.items()))
        )

    def router_of(self, client: str) -> str | None:
        """The router that a client is on; None if there is no such client."""
        population, _, number = client.rpartition(".")
        clients = self.populations.get(population)
        if clients is None or not re.fullmatch("[1-9][0-9]{0,3}", number) or int(number) > clients.count:
            return None
        return f"{population.partition('.')[0]}.{clients.at}"

    def has_node(self, name: str) -> bool:
        """Whether the plan will have a node of that name."""
        return name in self.nodes or self.router_of(name) is not None

    def has_link(self, name: str) -> bool:
        """Whether the plan will have a link of that name, its endpoints in either order."""
        a, _, b = name.partition("--")
        named = {f"{a}--{b}", f"{b}--{a}"}
        return not named.isdisjoint(self.wires) or b == self.router_of(a) or a == self.router_of(b)
