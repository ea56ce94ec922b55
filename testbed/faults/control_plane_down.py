"""The control plane is gone: steering is killed, or hangs and answers nobody."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testbed.faults import Fault, Net

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_NODE = "steering"
_SENT = "select count(*) from packets where node = ? and direction = 'out' and sport = 443 and tcp_len > 0"


@dataclass(kw_only=True)
class ControlPlaneDown(Fault):
    """{kind: control-plane-down, at: 60s, lasts: 60s, how: killed}

    `killed`: who connects is refused, and what had been reported is forgotten. `hangs`: connections are
    accepted by the kernel, and then nothing comes.
    """

    kind = "control-plane-down"
    colour = "#e3c6d4"

    how: Literal["killed", "hangs"] = "killed"

    def where(self) -> str:
        """The node of the steering service."""
        return _NODE

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """SIGKILL or SIGSTOP the steering service."""
        return net.stopped(_NODE) if self.how == "killed" else net.frozen(_NODE)

    def took_hold(self, tables: Tables) -> bool | None:
        """It answered before, and in the second half of the fault sent not one byte of payload."""
        if not tables.before(self).scalar(_SENT, _NODE):
            return None
        second_half = f"{_SENT} and t_ns >= {self.at + self.lasts // 2}"
        return not tables.during(self).scalar(second_half, _NODE)

    def healed(self, tables: Tables) -> bool | None:
        """It answers again: agents report even when nobody asks."""
        return bool(tables.after(self).scalar(_SENT, _NODE))
