"""Steering tells a client which OCAs to stream from, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node, Process
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
        sites = {}
        for oca in plan.by_role("oca"):
            embedded = bool(oca.isp)
            sites[oca.name] = {"kind": "embedded" if embedded else "exchange", "isp": oca.isp}
        service = Process(
            name="steering",
            service="testbed.services.steering:run",
            config={
                "address": node.address,
                "port": 443,
                "certificate": place(node, "certificate.pem"),
                "key": place(node, "key.pem"),
                "stale_ns": int(cdn.stale),
                "urls": cdn.urls,
                "zone": cdn.zone,
                "sites": sites,
                "origin": {
                    "oca": "origin",
                    "url": f"https://origin.{cdn.zone}/",
                    "titles": [title.name for title in plan.titles],
                },
                "ttl_s": 30,
            },
            ready="tcp:443",
        )
        return Equipment(
            {place(node, "certificate.pem"): certificate, place(node, "key.pem"): key}, (service,)
        )
