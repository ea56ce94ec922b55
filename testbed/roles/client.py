"""A client is where viewers watch; all players run in one process, each inside its client's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Client(Role):
    """A household or a phone behind an access link."""

    kind = "client"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """The run's certificate authority; the players themselves belong to the sessions of the job."""
        return Equipment({place(node, "ca.pem"): plan.authority.certificate})
