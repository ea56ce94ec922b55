"""An OCA loses all its processes at once, and gets them back later."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.faults import Fault, Net, OcaName

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

# TCP payload that an appliance sends: segments, reports, BGP. Killed processes leave only resets.
_SENT = "select count(*) from packets where direction = 'out' and node = ? and tcp_len > 0"


@dataclass(kw_only=True)
class OcaCrash(Fault):
    """{kind: oca-crash, target: oca-n1, at: 60s, lasts: 60s}"""

    kind = "oca-crash"
    colour = "#f2b8b5"

    target: OcaName

    def where(self) -> str:
        """The appliance."""
        return self.target

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """SIGKILL nginx, BIRD and the agent; the machine itself answers with resets."""
        return net.stopped(self.target)

    def took_hold(self, tables: Tables) -> bool | None:
        """It sent data before, and not one byte of payload in the second half of the fault.

        In the first the kernel may still deliver what nginx had written before it was killed.
        """
        if not tables.before(self).scalar(_SENT, self.target):
            return None
        second_half = f"{_SENT} and t_ns >= {self.at + self.lasts // 2}"
        return not tables.during(self).scalar(second_half, self.target)

    def healed(self, tables: Tables) -> bool | None:
        """It sends data again: its agent reports even when nobody watches."""
        return bool(tables.after(self).scalar(_SENT, self.target))
