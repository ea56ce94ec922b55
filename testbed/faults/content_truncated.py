"""A title's files on an OCA end early, as a fill that broke off leaves them; the OCA does not notice."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Cut, Fault, Net, OcaName, TitleName
from testbed.units import Share

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

# A range that begins behind the end is refused, one that ends there is answered in part (RFC 9110, 14).
_SHORT = (
    "select count(*) from requests where oca = ? and url like '%/' || ? || '/%'"
    " and (status = 416 or error like '% bytes instead of %')"
)


@dataclass(kw_only=True)
class ContentTruncated(Fault):
    """{kind: content-truncated, target: oca-n1, title: film, keep: 30%, at: 60s, lasts: 60s}

    Of each file the first `keep` stays. Steering goes on sending clients there: the title is on the box.
    """

    kind = "content-truncated"
    colour = "#c9cfae"

    target: OcaName
    title: TitleName
    keep: Share

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Put files that are cut off in the place of the title's."""
        return net.files(self.target, {f"content/{self.title}": Cut(float(self.keep))})

    def took_hold(self, tables: Tables) -> bool | None:
        """A player got less than it asked for; None if nobody asked for the title there."""
        during = tables.during(self)
        if during.scalar(_SHORT, self.target, self.title):
            return True
        asked = "select count(*) from requests where oca = ? and url like '%/' || ? || '/%'"
        return False if during.scalar(asked, self.target, self.title) else None

    def healed(self, tables: Tables) -> bool | None:
        """Nobody gets less than they ask for any more."""
        return not tables.after(self).scalar(_SHORT, self.target, self.title)
