"""An exchange is a learning switch; nothing runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Exchange(Role):
    """An IXP's peering LAN: one bridge, a port for each member."""

    kind = "exchange"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:  # noqa: ARG002 - it needs none
        """Nothing but the bridge that the kernel makes."""
        return Equipment()
