"""A route server passes the members' routes on, and stays out of their paths (RFC 7947)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role
from testbed.roles.router import routed

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class RouteServer(Role):
    """An exchange's route server: AS path and next hop are left as the member sent them."""

    kind = "route-server"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """A client session for each member and family; its own kernel learns nothing."""
        return routed(node, plan)
