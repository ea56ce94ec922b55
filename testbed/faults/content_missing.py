"""A title's files vanish from an OCA; who asks there gets 404 until its next report tells steering."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, OcaName, TitleName

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_REFUSED = "select count(*) from requests where oca = ? and status = 404 and url like '%/' || ? || '/%'"
_PASSED_OVER = "select count(*) from steering where oca = ? and title = ? and reason like 'does not hold %'"


@dataclass(kw_only=True)
class ContentMissing(Fault):
    """{kind: content-missing, target: oca-n1, title: film, at: 60s, lasts: 60s}"""

    kind = "content-missing"
    colour = "#cfd8c4"

    target: OcaName
    title: TitleName

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Take the title's folder away."""
        return net.files(self.target, {f"content/{self.title}": None})

    def took_hold(self, tables: Tables) -> bool | None:
        """A player got 404, or steering passed the OCA over for want of the title; None if nobody asked."""
        during = tables.during(self)
        if any(during.scalar(query, self.target, self.title) for query in (_REFUSED, _PASSED_OVER)):
            return True
        asked = during.scalar("select count(*) from requests where oca = ?", self.target)
        return False if asked else None

    def healed(self, tables: Tables) -> bool | None:
        """Nobody gets 404 there any more."""
        return not tables.after(self).scalar(_REFUSED, self.target, self.title)
