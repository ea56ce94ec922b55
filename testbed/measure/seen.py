"""What all captures of a run saw, brought together: connections, addresses and hops have one number each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from testbed.measure.addresses import Addresses
from testbed.measure.capture import Capture, Spooled
from testbed.measure.connections import Connections, connections
from testbed.measure.flows import flows, named
from testbed.measure.packet_table import Tabled
from testbed.measure.packets import Packets
from testbed.measure.points import Point
from testbed.measure.schema import TABLES


class Seen:
    """The captures of a run. Their order decides how what is equal in time is numbered."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        self.captures = captures
        self.addresses = Addresses()
        self.codes = [self.addresses.codes(each.addresses) for each in captures]
        self.connections = connections(captures, self.codes)

    @property
    def last_ns(self) -> int:
        """When the last packet was seen; 0 if there is none."""
        return max((each.last_ns for each in self.captures if each.last_ns is not None), default=0)

    def flows(self, nodes: dict[str, str]) -> pl.DataFrame:
        """The table `flows`; `nodes` has who owns each address."""
        found = [
            flows(each, number, self.codes[number], self.connections)
            for number, each in enumerate(self.captures)
        ]
        every = [each for each in found if len(each)]
        if not every:
            return pl.DataFrame(TABLES["flows"].arrow.empty_table())
        return named(pl.concat(every), self.addresses.texts, nodes).sort("flow_id", "node", "interface")

    def control(self) -> list[tuple[Point, Packets]]:
        """BGP and DNS of every capture, with the run's numbers of flows and addresses."""
        found = []
        for capture, codes, flow_ids in zip(self.captures, self.codes, self.connections.numbers, strict=True):
            rows = capture.control.rows.copy()
            if len(rows):
                rows["src"], rows["dst"] = codes[rows["src"]], codes[rows["dst"]]
                rows["flow_id"] = flow_ids[rows["flow_id"]].astype(np.uint32)
            found.append((capture.point, Packets(rows, payloads=capture.control.payloads)))
        return found


def packet_tables(
    captures: Sequence[Spooled], found: Connections, done: Callable[[], None]
) -> Iterator[pa.Table]:
    """The table `packets`, capture by capture; `done` is called after each of these."""
    for capture, numbers in zip(captures, found.numbers, strict=True):
        tabled = Tabled(capture, numbers)
        for packets in capture.packets():
            yield tabled.table(packets)
        done()
