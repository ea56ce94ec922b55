"""A switch is a learning bridge; nothing runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Switch(Role):
    """A learning bridge (IEEE 802.1Q where it has VLANs), which may speak 802.1D."""

    kind = "switch"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:  # noqa: ARG002 - it needs none
        """Nothing but the bridge that the kernel makes."""
        return Equipment()
