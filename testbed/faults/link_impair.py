"""A link gets worse for a while: slower, farther, lossier, or differently queued."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from testbed import traces
from testbed.aqms import ALWAYS_MARKS
from testbed.faults import Fault, LinkName, Net
from testbed.impairments import Aqm, Jitter, change, mean_loss, room
from testbed.job import Loss
from testbed.units import Duration, Queue, Rate, Share

if TYPE_CHECKING:
    from testbed.job import Job, Shape
    from testbed.measure.tables import Tables

_WORDS = ("delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "aqm", "ecn", "rate")
# how many crossed and were lost, their least and most delay, and how many took less than a time
_CROSSED = """select count(delay_ns), count(*) filter (lost), min(delay_ns), max(delay_ns),
    count(*) filter (delay_ns < ?) from hops where link = ? and "from" = ?"""
_LEAST_DELAY = 'select min(delay_ns) from hops where link = ? and "from" = ? and not lost'
_SPREAD = 'select quantile_disc(delay_ns, 0.9) - min(delay_ns) from hops where link = ? and "from" = ?'
_COUNTED = """select coalesce(max(drops) - min(drops), 0), coalesce(max(packets) - min(packets), 0) from links
    where link = ? and node = ?"""
# a queue that is put in another's place counts from 0: what it counted at first, and at most
_MANAGED = """select coalesce(max(marks) - arg_min(marks, t_ns), 0),
    coalesce(max(aqm_drops) - arg_min(aqm_drops, t_ns), 0) from links where link = ? and node = ?"""
_BUSIEST = """select max(bits) from (select sum(length) * 80 as bits from packets
    where link = ? and (direction = 'out') = (node = ?) group by t_ns // 100000000)"""
# a segment that is sent again has another identification (RFC 6864), one that a link doubled has not
_DOUBLED = """select count(*) - count(distinct (src, dst, sport, dport, ip_id, tcp_seq, tcp_ack, length)),
    count(*) from packets
    where link = ? and (direction = 'out') = (node = ?) and proto = 'tcp' and ip_id > 0"""
_DUE = 7  # with so many due, none at all happens once in a thousand times; with fewer it says nothing
_TABLES_END = 4  # jitters: how far netem's tables of distributions reach; the uniform one reaches 1


@dataclass(kw_only=True)
class LinkImpair(Fault):
    """{kind: link-impair, link: north.core--ix, at: 30s, lasts: 20s, delay: 80ms, loss: 2%}

    All that a link says but its MTU and a trace can change; what is not named stays as it is. A queue as
    a time or in bandwidth-delay products is of the rate and the delays that the fault leaves.
    """

    kind = "link-impair"
    colour = "#e9dca0"

    link: LinkName
    direction: Literal["both", "forward", "backward"] = "both"
    delay: Duration | None = None
    jitter: Jitter | None = None
    loss: Loss | None = None
    duplicate: Share | None = None
    reorder: Share | None = None
    corrupt: Share | None = None
    rate: Rate | None = None
    queue: Queue | None = None
    aqm: Aqm | None = None
    ecn: bool | None = None

    def __post_init__(self) -> None:
        if self.queue is None and not self._said():
            raise ValueError(f"it changes nothing; give at least one of queue, {', '.join(_WORDS)}")

    def where(self) -> str:
        """The link."""
        return self.link

    @contextmanager
    def strike(self, net: Net) -> Iterator[None]:
        """Lay the new values over those in force; what is not named stays as it is."""
        with ExitStack() as struck:
            for way in self._ways():
                struck.enter_context(net.shaped(self.link, way, **self._change(net.job, way)))
            yield

    def took_hold(self, tables: Tables) -> bool | None:
        """What was changed shows in the packets of every direction that it was changed in.

        Delay shows in the least time a packet took, jitter in how much longer others took than before,
        loss in the queue's count of drops, what was doubled in equal segments, what was reordered in
        packets without the delay, what was corrupted in packets that nobody dropped and that never came,
        a lower rate in the busiest 100 ms; an AQM where there was none in packets that it dropped or marked
        before the queue was full, ECN in marks, and an end of either in that there are none. A queue, and
        another AQM than before, show nothing that can be relied on.
        """
        said = [finding for way in self._ways() for finding in self._shows(tables, way)]
        return all(said) if said else None

    def healed(self, tables: Tables) -> bool | None:
        """Where delay was added, packets are again faster than that; otherwise the queue's state says it."""
        if self.delay is None:
            return None
        after, said = tables.after(self), []
        for way in self._ways():
            link, sender, planned = _direction(tables.job, self.link, way)
            least = after.scalar(_LEAST_DELAY, link, sender)
            if least:
                said.append(least < self.delay or planned.delay_ns >= self.delay)
        return all(said) if said else None

    def _ways(self) -> tuple[str, ...]:
        return ("forward", "backward") if self.direction == "both" else (self.direction,)

    def _said(self) -> dict[str, Any]:
        return change(**{word: getattr(self, word) for word in _WORDS})

    def _change(self, job: Job, way: str) -> dict[str, Any]:
        said = self._said()
        if self.queue is None:
            return said
        link = job.link(self.link)
        planned, other = (link.a_to_b, link.b_to_a) if way == "forward" else (link.b_to_a, link.a_to_b)
        shape = dataclasses.replace(planned, **said)
        back = dataclasses.replace(other, **said) if self.direction == "both" else other
        # without a rate nothing waits, so that any queue is as good
        rate_bps = traces.mean_bps(job.traces[shape.trace]) if shape.trace else shape.rate_bps or 0
        mtu = next(port.mtu for port in job.node(link.a).interfaces if port.name == link.a_interface)
        return said | room(self.queue, rate_bps, shape.delay_ns + back.delay_ns, mtu + traces.ETHERNET_BYTES)

    def _shows(self, tables: Tables, way: str) -> Iterator[bool]:
        link, sender, planned = _direction(tables.job, self.link, way)
        shape, during = dataclasses.replace(planned, **self._said()), tables.during(self)
        reach = 1 if shape.jitter_distribution == "uniform" else _TABLES_END
        soonest = shape.delay_ns - reach * shape.jitter_ns
        ((crossed, lost, least, most, early),) = during.sql(_CROSSED, soonest, link, sender)
        ((drops, passed),) = during.sql(_COUNTED, link, sender)
        if self.delay is not None and crossed:
            yield (most if shape.reorder else least) >= soonest
        if self.jitter is not None:
            spread, before = (each.scalar(_SPREAD, link, sender) for each in (during, tables.before(self)))
            if spread is not None and before is not None and before < self.jitter.by_ns / 2 <= spread / 2:
                yield True
        if self.loss is not None:
            yield from _seen(drops, mean_loss(self.loss) * (drops + passed))
        if self.duplicate:
            doubled, segments = during.sql(_DOUBLED, link, sender)[0]
            yield from _seen(doubled, self.duplicate * segments)
        if self.reorder and soonest > 0:
            yield from _seen(early, self.reorder * crossed)
        if self.corrupt and not drops:
            yield from _seen(lost, self.corrupt * crossed)
        if self.rate is not None:
            busiest = during.scalar(_BUSIEST, link, sender)
            if busiest:
                yield busiest <= self.rate * 1.02 + 2 * 1514 * 8 * 10
        if self.aqm is not None or self.ecn is not None:
            yield from self._managed(planned, *during.sql(_MANAGED, link, sender)[0])

    def _managed(self, planned: Shape, marks: int, aqm_drops: int) -> Iterator[bool]:
        """What the queue management did; that it did nothing may be for want of a queue or of ECN's users."""
        shape = dataclasses.replace(planned, **self._said())
        if (planned.aqm == "fifo") != (shape.aqm == "fifo") and marks + aqm_drops:
            yield shape.aqm != "fifo"
        changed = planned.ecn != shape.ecn and shape.aqm not in ALWAYS_MARKS
        if changed and planned.aqm in (shape.aqm, "fifo") and marks:
            yield shape.ecn


def _direction(job: Job, name: str, way: str) -> tuple[str, str, Shape]:
    """The link's name in the job, who sends in that direction, and what it was planned to be."""
    link = job.link(name)
    return (link.name, link.a, link.a_to_b) if way == "forward" else (link.name, link.b, link.b_to_a)


def _seen(count: int, due: float) -> Iterator[bool]:
    """Whether any was seen, where enough were due to tell."""
    if count or due >= _DUE:
        yield count > 0
