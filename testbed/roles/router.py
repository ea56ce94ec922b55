"""A router speaks BGP by the relations on its links, and OSPF inside its AS, for IPv4 and IPv6."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed import registry
from testbed.job import Node
from testbed.plan.routing import describe
from testbed.roles import Equipment, Role, home

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Router(Role):
    """An ISP's or the CDN's router: Gao-Rexford policy, iBGP full mesh, OSPF on internal links."""

    kind = "router"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """The daemon that the topology asks for."""
        return routed(node, plan)


def routed(node: Node, plan: Blueprint) -> Equipment:
    """The files and processes of a node's routing daemon."""
    routing = describe(node, plan)
    daemon = registry.kinds("daemons")[routing.daemon](home(node))
    return Equipment(daemon.files(routing), daemon.processes(routing))
