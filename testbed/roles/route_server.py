"""A route server passes the members' routes on, and stays out of their paths (RFC 7947)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role, place
from testbed.roles.router import daemon, preamble, session

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class RouteServer(Role):
    """An exchange's route server: AS path and next hop are left as the member sent them."""

    kind = "route-server"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """BIRD with a client session for each member and family; its own kernel learns nothing."""
        configuration = preamble(node)
        for number, member in enumerate(plan.neighbors[node.name], start=1):
            channel = "import all; export where source = RTS_BGP;"
            configuration += session(node, member, f"bgp{number}", channel, "rs client;")
        return Equipment({place(node, "bird.conf"): "\n".join(configuration) + "\n"}, (daemon(node),))
