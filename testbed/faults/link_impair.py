"""A link gets worse for a while: slower, farther, or lossier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from testbed.faults import Fault, LinkName, Net
from testbed.job import Loss
from testbed.units import Duration, Rate, Share

if TYPE_CHECKING:
    from testbed.job import Job
    from testbed.measure.tables import Tables

_LEAST_DELAY = 'select min(delay_ns) from hops where link = ? and "from" = ? and not lost'
_COUNTED = """select max(drops) - min(drops), max(packets) - min(packets) from links
    where link = ? and node = ?"""
_BUSIEST = """select max(bits) from (select sum(length) * 80 as bits from packets
    where link = ? and (direction = 'out') = (node = ?) group by t_ns // 100000000)"""


@dataclass(kw_only=True)
class LinkImpair(Fault):
    """{kind: link-impair, link: north.core--ix, at: 30s, lasts: 20s, delay: 80ms, loss: 2%}"""

    kind = "link-impair"
    colour = "#e9dca0"

    link: LinkName
    direction: Literal["both", "forward", "backward"] = "both"
    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Share | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        if not self._change():
            raise ValueError("it changes nothing; give at least one of delay, jitter, loss, rate")

    def where(self) -> str:
        """The link."""
        return self.link

    def strike(self, net: Net) -> AbstractContextManager[None]:
        """Lay the new values over those in force; what is not named stays as it is."""
        return net.shaped(self.link, self.direction, **self._change())

    def took_hold(self, tables: Tables) -> bool | None:
        """Every value that was changed shows in the packets of every direction that it was changed in.

        Delay shows in the least time a packet took, loss in the queue's count of drops, a lower rate in
        the busiest 100 ms; jitter alone shows nothing that its delay does not.
        """
        findings = [self._shows(tables, sender) for sender in self._senders(tables.job)]
        said = [finding for finding in findings if finding is not None]
        return all(said) if said else None

    def healed(self, tables: Tables) -> bool | None:
        """Where delay was added, packets are again faster than that; otherwise the queue's state says it."""
        if self.delay is None:
            return None
        link, after = tables.job.link(self.link), tables.after(self)
        planned = {link.a: link.a_to_b.delay_ns, link.b: link.b_to_a.delay_ns}
        least = {
            sender: after.scalar(_LEAST_DELAY, link.name, sender) for sender in self._senders(tables.job)
        }
        said = [
            delay < self.delay or planned[sender] >= self.delay for sender, delay in least.items() if delay
        ]
        return all(said) if said else None

    def _change(self) -> dict[str, Any]:
        fields = {"delay_ns": self.delay, "jitter_ns": self.jitter, "rate_bps": self.rate}
        change: dict[str, Any] = {name: int(value) for name, value in fields.items() if value is not None}
        return change if self.loss is None else {**change, "loss": Loss(parameters=(float(self.loss),))}

    def _senders(self, job: Job) -> Iterator[str]:
        link = job.link(self.link)
        if self.direction in ("both", "forward"):
            yield link.a
        if self.direction in ("both", "backward"):
            yield link.b

    def _shows(self, tables: Tables, sender: str) -> bool | None:
        link, during = tables.job.link(self.link).name, tables.during(self)
        findings: list[bool] = []
        if self.delay is not None:
            least = during.scalar(_LEAST_DELAY, link, sender)
            if least is not None:
                findings.append(least >= self.delay - (self.jitter or 0))
        if self.loss:
            ((drops, passed),) = during.sql(_COUNTED, link, sender)
            # with seven losses due, none at all happens once in a thousand times; with fewer it says nothing
            if drops or (drops or 0) + (passed or 0) >= 7 / self.loss:
                findings.append(bool(drops))
        if self.rate is not None:
            busiest = during.scalar(_BUSIEST, link, sender)
            if busiest:
                findings.append(busiest <= self.rate * 1.02 + 2 * 1514 * 8 * 10)
        return all(findings) if findings else None
