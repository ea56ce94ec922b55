"""A host is a node on which nothing runs, until somebody at a prompt or a fault starts something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node
from testbed.roles import Equipment, Role

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Host(Role):
    """A plain host with addresses and a way out."""

    kind = "host"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:  # noqa: ARG002 - it needs none
        """Nothing but what the kernel does."""
        return Equipment()
