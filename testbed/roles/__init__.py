"""A role is what a node does: it writes the node's configuration and says what runs there.

A kind is one file: a class with `kind` and `equip`, a pure function of the blueprint, so that a
role's whole output can be read (`testbed plan`) and tested without any network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from testbed.job import NODES, Node, Process

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


@dataclass(frozen=True)
class Equipment:
    """What a role gives its node: files by absolute path in the guest, and processes."""

    files: dict[str, str] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()
    titles: tuple[str, ...] = ()  # on its disk when the run starts
    sysctls: dict[str, str] = field(default_factory=dict)  # below net.ipv4


class Role(ABC):
    """What all roles have."""

    kind: ClassVar[str] = ""

    @abstractmethod
    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """The files and processes of one node of this role."""


def home(node: Node) -> str:
    """Where a node's files lie in the guest."""
    return f"{NODES}/{node.name}"


def place(node: Node, name: str) -> str:
    """Where a node's file of that name lies in the guest."""
    return f"{home(node)}/{name}"
