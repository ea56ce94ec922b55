"""Steering tells a client which OCAs to stream from, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from testbed.job import Node, Process
from testbed.plan.filling import cluster, manifests
from testbed.registry import kinds, source
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Steering(Role):
    """The control plane: it hears the OCAs' reports and answers clients with a ranked list."""

    kind = "steering"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """Our steering service, over HTTPS."""
        cdn = plan.cdn
        host = f"steering.{cdn.zone}"
        certificate, key = plan.authority.issue(host)
        service = Process(
            name="steering",
            service="testbed.services.steering:run",
            config={
                "addresses": [own for own in (node.address, node.address6) if own],
                "port": 443,
                "certificate": place(node, "certificate.pem"),
                "key": place(node, "key.pem"),
                "drained": place(node, "drained.json"),
                "zone": cdn.zone,
                "sites": {oca.name: _site(oca, plan) for oca in plan.by_role("oca")},
                "places": list(_places(plan)),
                "mode": cdn.steering.mode,
                "names": {
                    "ttl_s": int(cdn.steering.dns_ttl) // 10**9,
                    "addresses": {
                        server.name: [own for own in (server.address, server.address6) if own]
                        for role in ("oca", "origin")
                        for server in plan.by_role(role)
                    },
                }
                if cdn.steering.mode == "dns"
                else None,
                "policy": {
                    "source": source(kinds("steering")[cdn.steering.policy]),
                    "order": list(cdn.steering.order),
                    "hash_by": list(cdn.steering.hash_by),
                },
                "origin": {
                    "oca": "origin",
                    "url": f"https://origin.{cdn.zone}/",
                    "titles": [title.name for title in plan.titles],
                }
                if cdn.steering.origin
                else None,
                "urls": cdn.urls,
                "ttl_s": int(cdn.steering.ttl) / 1e9,
                "stale_ns": int(cdn.stale),
                "shed": float(cdn.steering.shed),
                "fill": {
                    "manifests": manifests(plan),
                    "masters": plan.fill.masters,
                    "wait_ns": int(plan.fill.wait),
                }
                if plan.fill
                else None,
            },
            ready="tcp:443",
        )
        return Equipment(
            {place(node, "certificate.pem"): certificate, place(node, "key.pem"): key}, (service,)
        )


def _site(oca: Node, plan: Blueprint) -> dict[str, Any]:
    """What the CDN knows of an OCA whatever that reports: where it stands, and what it can carry."""
    spec = plan.topology.ocas[oca.name]
    isp = plan.topology.isps.get(oca.isp)
    return {
        "cluster": cluster(oca.name, plan),
        "embedded": bool(oca.isp),
        "via": {} if oca.isp else _via(spec.at, plan),
        "weight": spec.weight,
        "location": spec.location or (isp.location if isp else None),
        "capacity_bps": oca.interfaces[0].shape.rate_bps,
        "connections": spec.max_connections,
    }


def _via(router: str, plan: Blueprint) -> dict[str, str]:
    """How a site of the CDN's own is joined with each AS: by a router's own sessions, else by another's.

    A peer on a link of its own is a private peer (PNI), one on an exchange's LAN a public one.
    """
    found: dict[str, str] = {}
    network = plan.network_of(router)
    for each in (router, *(other for other in network.routers if other != router)):
        here: dict[str, str] = {}
        for neighbor in plan.neighbors[each]:
            if neighbor.relation in ("peer", "customer"):
                lan = any(
                    interface.link in plan.lan_of
                    for interface in plan.nodes[each].interfaces
                    if neighbor.local_address
                    in (interface.address.partition("/")[0], interface.address6.partition("/")[0])
                )
                kind = "exchange" if lan else "pni"
                if here.get(str(neighbor.asn)) != "pni":
                    here[str(neighbor.asn)] = kind
            elif neighbor.relation == "route-server":
                for member in plan.topology.exchanges[neighbor.node.partition(".")[0]].members:
                    if plan.homes[member] != network.name:
                        here.setdefault(str(plan.nodes[member].asn), "exchange")
            elif neighbor.relation == "provider":
                here.setdefault(str(neighbor.asn), "transit")
        found = here | found
    return dict(sorted(found.items()))


def _places(plan: Blueprint) -> Iterator[tuple[str, float, float]]:
    """Where clients are, as a data base of addresses has it: those whose place the topology says."""
    for name, population in plan.populations.items():
        isp = plan.topology.isps[name.partition(".")[0]]
        where = isp.clients[name.partition(".")[2]].location or isp.location
        if where:
            for prefix, has in ((population.prefix, "ipv4"), (population.prefix6, "ipv6")):
                if has in plan.topology.families:
                    latitude, longitude = where
                    yield str(prefix), latitude, longitude
