"""A link loses its carrier at both ends, then gets it back."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Fault, LinkName, Net

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_CROSSED = "select count(*) from packets where link = ?"


@dataclass(kw_only=True)
class LinkDown(Fault):
    """{kind: link-down, link: north.core--ix, at: 30s, lasts: 20s}"""

    kind = "link-down"
    colour = "#c8b6e2"

    link: LinkName

    def where(self) -> str:
        """The link."""
        return self.link

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Take both interfaces down, as when a fibre is cut: the daemons are told at once."""
        return net.down(self.link)

    def took_hold(self, tables: Tables) -> bool | None:
        """Packets crossed before, and none while it was down."""
        link = tables.job.link(self.link).name
        if not tables.before(self).scalar(_CROSSED, link):
            return None
        return not tables.during(self).scalar(_CROSSED, link)

    def healed(self, tables: Tables) -> bool | None:
        """Packets cross again."""
        return bool(tables.after(self).scalar(_CROSSED, tables.job.link(self.link).name))
