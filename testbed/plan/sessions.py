"""Who speaks BGP with whom: over links, at exchanges and inside networks, as each of both ends sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

from testbed.model.bgp import Accept, Announce, BgpSpec
from testbed.model.schema import Cdn, Exchange, Isp
from testbed.plan.addresses import End
from testbed.plan.blueprint import Blueprint, Neighbor

_INVERSE = {"customer": "provider", "provider": "customer", "oca": "server", "route-server": "member"}


@dataclass(frozen=True)
class Told:
    """What is said of a session by hand; of policies by the router that has them."""

    bgp: BgpSpec | None = None
    announce: dict[str, Announce] = field(default_factory=dict)
    accept: dict[str, Accept] = field(default_factory=dict)

    def over(self, below: Told) -> Told:
        """What this says, laid over what `below` says."""
        return Told(
            self.bgp.over(below.bgp) if self.bgp else below.bgp,
            below.announce | self.announce, below.accept | self.accept,
        )  # fmt: skip


class Sessions:
    """The sessions of a blueprint that is being drawn."""

    def __init__(self, plan: Blueprint) -> None:
        self._plan = plan

    def at_exchanges(self) -> None:
        """An exchange's members speak with its route server, and with each other where it says so.

        Without a route server, and in VLANs, all speak with each other unless it says who does.
        """
        told = {
            (owner, wire.vlan or 0, member): Told(wire.bgp, wire.announce, wire.accept)
            for wire in self._plan.topology.links
            for owner, member in (wire.endpoints, reversed(wire.endpoints))
            if owner in self._plan.topology.exchanges
        }
        for (owner, vlan), lan in self._plan.lans.items():
            if owner not in self._plan.topology.exchanges:
                continue
            exchange, server = self._plan.topology.exchanges[owner], f"{owner}.rs"
            if not vlan and exchange.route_server:
                own = self._own(server)
                for member, end in lan.nodes.items():
                    self.peer(server, member, "route-server", (own, end), told[owner, vlan, member])
            if exchange.bilateral and not vlan:
                for pair in exchange.bilateral:
                    a, b = pair.members
                    own_words = Told(pair.bgp, pair.announce, pair.accept)
                    words = own_words.over(told[owner, vlan, a]).over(told[owner, vlan, b])
                    self.peer(a, b, pair.relation, (lan.nodes[a], lan.nodes[b]), words)
            elif vlan or not exchange.route_server:
                for (a, a_end), (b, b_end) in combinations(lan.nodes.items(), 2):
                    if self._plan.homes[a] != self._plan.homes[b]:
                        words = told[owner, vlan, a].over(told[owner, vlan, b])
                        self.peer(a, b, "peer", (a_end, b_end), words)

    def inside(self) -> None:
        """A network's routers tell each other what they hear by BGP, where any of them hears anything."""
        for name, network in self._plan.networks.items():
            if any(self._plan.neighbors[router] for router in network.routers):
                clients = clusters(self._plan.topology.networks[name], name)
                for a, b in combinations(network.routers, 2):
                    if (
                        clients
                        and not {a, b} <= clients.keys()
                        and not (b in clients.get(a, ()) or a in clients.get(b, ()))
                    ):
                        continue
                    self.peer(a, b, "internal", (self._own(a), self._own(b)), clients=clients)

    def peer(
        self, a: str, b: str, relation: str, ends: tuple[End, End], told: Told | None = None,
        clients: dict[str, list[str]] | None = None,
    ) -> None:  # fmt: skip
        """Have two nodes speak BGP, in a session for each family; `relation` is what a is to b."""
        words, clusters = told or Told(), clients or {}
        first, second = (self._shown(end) for end in ends)
        whats = (_INVERSE.get(relation, relation), relation)
        specs = _agreed(*((words.bgp or BgpSpec()).over(self._kept(each)) for each in (a, b)))
        for family, (own, other) in (
            (4, (first.address4, second.address4)),
            (6, (first.address6, second.address6)),
        ):
            if own and other:
                for here, there, what, local, remote, spec in (
                    (a, b, whats[0], own, other, specs[0]),
                    (b, a, whats[1], other, own, specs[1]),
                ):
                    self._plan.neighbors[here].append(Neighbor(
                        there, self._plan.nodes[there].asn, remote, local, what, family, spec,
                        words.announce.get(here), words.accept.get(here), there in clusters.get(here, ()),
                    ))  # fmt: skip

    def _kept(self, node: str) -> BgpSpec | None:
        """How a node's sessions are kept where nothing is said of one."""
        below = self._plan.topology.defaults.bgp
        owner: Isp | Cdn | Exchange | None = None
        if node in self._plan.topology.routers:
            owner = self._plan.topology.networks[self._plan.topology.routers[node]]
        elif self._plan.nodes[node].role == "route-server":
            owner = self._plan.topology.exchanges[node.removesuffix(".rs")]
        return owner.bgp.over(below) if owner and owner.bgp else below

    def _own(self, node: str) -> End:
        found = self._plan.nodes[node]
        return End(found.address, found.address6)

    def _shown(self, end: End) -> End:
        """An end's addresses of the families that the topology has."""
        families = self._plan.topology.families
        return End(end.v4 if "ipv4" in families else "", end.v6 if "ipv6" in families else "")


def _agreed(a: BgpSpec, b: BgpSpec) -> tuple[BgpSpec, BgpSpec]:
    """How both ends keep a session: it has no TTL security and no BFD unless both have."""
    return tuple(
        own.model_copy(
            update={"ttl_security": own.ttl_security or other.ttl_security, "bfd": own.bfd or other.bfd}
        )
        for own, other in ((a, b), (b, a))
    )  # type: ignore[return-value]


def clusters(network: Isp | Cdn, name: str) -> dict[str, list[str]]:
    """The clients of every route reflector, by node names; empty where all routers are meshed."""
    if network.clusters:
        return {
            f"{name}.{each}": [f"{name}.{client}" for client in of] for each, of in network.clusters.items()
        }
    reflectors = network.route_reflectors or []
    others = [f"{name}.{router}" for router in network.routers if router not in reflectors]
    return {f"{name}.{reflector}": others for reflector in reflectors}
