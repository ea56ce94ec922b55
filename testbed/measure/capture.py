"""A capture is read once, in bounded memory: parsed, put in the order of time, followed, and spooled.

Flows and addresses are numbered within the capture, for what a run calls them is known only when all
captures are read. The spool holds the rows until then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure.native import (
    ADDRESS,
    EXTRA,
    FIRST,
    KEPT,
    QUANTILES,
    ROW,
    SAMPLE,
    SUMMARY,
    copied,
    library,
    pointer,
)
from testbed.measure.packets import Packets
from testbed.measure.pcap import MOST, Pcap
from testbed.measure.points import Point

# Two processors that feed one socket can leave a capture slightly out of order (0.4 ms were seen).
DISORDER_NS = 10_000_000
HELD = 1 << 14  # rows kept back for that at most
SAMPLES = 1_000_000  # round-trip times of which quantiles are taken at a time
BATCH = 1 << 17  # rows given out at a time


@dataclass
class Capture:
    """What one capture point saw."""

    point: Point
    count: int = 0
    last_ns: int | None = None
    unread: int = 0
    problem: str = ""
    interfaces: tuple[str, ...] = ()
    addresses: list[str] = field(default_factory=list)  # by number
    summaries: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, SUMMARY))  # by flow, from 1
    towards: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, FIRST))  # by address
    round_trips: pl.DataFrame = field(default_factory=pl.DataFrame)  # quantiles by flow and ahead
    control: Packets = field(default_factory=lambda: Packets(np.empty(0, ROW)))  # all of WHOLE_PORTS

    @property
    def places(self) -> list[tuple[str, str, str]]:
        """Node, interface and link of each interface in the file; one of ours has one."""
        here = self.point
        if here.interface or not self.interfaces:
            return [(here.node, here.interface, here.link)]
        names = [name or str(number) for number, name in enumerate(self.interfaces)]
        return [(here.node, name, f"{here.node}.{name}") for name in names]


@dataclass
class Spooled(Capture):
    """A capture whose rows are kept in a file, in the order of time."""

    spool: Path = Path()
    extras: Path = Path()
    batches: list[tuple[int, int, int]] = field(default_factory=list)  # rows, extras, extras before

    def packets(self) -> Iterator[Packets]:
        """All packets, some at a time, without payloads; the rows are used again for the next."""
        buffer = np.empty(max((rows for rows, _, _ in self.batches), default=0), ROW)
        with (
            self.spool.open("rb", buffering=0) as rows_file,
            self.extras.open("rb", buffering=0) as extras_file,
        ):
            for rows, extras, before in self.batches:
                rows_file.readinto(buffer[:rows].view(np.uint8).data)
                yield Packets(buffer[:rows], np.fromfile(extras_file, EXTRA, extras), before)


def read(path: Path, point: Point, t0_unix_ns: int, spool: Path) -> Spooled:
    """Read a capture file taken at a point; times become nanoseconds since `t0_unix_ns`.

    A file that is not there is an empty capture.
    """
    found = Spooled(point, spool=spool, extras=spool.with_name(f"{spool.name}.extras"))
    with (
        found.spool.open("wb", buffering=0) as rows_file,
        found.extras.open("wb", buffering=0) as extras_file,
    ):
        for packets in Reading(path, found, t0_unix_ns) if path.exists() else ():
            found.batches.append((len(packets), len(packets.extras), packets.extras_before))
            rows_file.write(packets.rows.view(np.uint8).data)
            extras_file.write(packets.extras.view(np.uint8).data)
    return found


class Reading:
    """The packets of a capture file, some at a time; `capture` is filled in on the way.

    The rows are used again for the next. Of `capture` the addresses and the interfaces are known as far
    as it is read; the rest is when all is read.
    """

    def __init__(self, path: Path, capture: Capture, t0_unix_ns: int) -> None:
        self.capture = capture
        self._pcap = Pcap(path)
        self._t0_unix_ns = t0_unix_ns

    def __iter__(self) -> Iterator[Packets]:
        point, c = self.capture.point, library()
        known = point.mac != bytes(6) or point.bridge
        macs = point.mac, point.peer_mac
        self._parser = c.parser_new(self._t0_unix_ns, *macs, point.bridge, point.peer_bridge, known)
        self._follow = c.follow_new()
        self._control: list[npt.NDArray[np.void]] = []
        self._payloads: dict[int, bytes] = {}
        with TemporaryFile(buffering=0) as samples:
            self._samples = samples
            try:
                yield from self._batches()
                self._finish()
            finally:
                c.parser_free(self._parser)
                c.follow_free(self._follow)

    def _batches(self) -> Iterator[Packets]:
        rows = np.empty(BATCH + 2 * HELD + 2 * MOST, ROW)
        followed = filled = before = 0  # rows up to `followed` are done, up to `filled` are there
        extras = np.empty(0, EXTRA)
        for records in self._pcap:
            new = rows[filled : filled + len(records)]
            buffer, table = pointer(records.buffer), pointer(records.table)
            if not library().parse(self._parser, buffer, table, len(new), pointer(new)):
                raise MemoryError
            more = copied("parser_extras", self._parser, EXTRA)
            extras = np.concatenate([extras, more]) if len(more) else extras
            _keep(self._parser, new, self._payloads)
            filled += len(new)
            followed += self._followed(rows[followed:filled], HELD)
            if followed < BATCH:
                continue
            self._meet()
            yield Packets(rows[:BATCH], extras, before)
            left = rows[BATCH:filled].copy()
            numbers = left["extra"][left["extra"] > 0]
            used = int(numbers.min()) - 1 - before if len(numbers) else len(extras)
            extras, before = extras[used:], before + used
            rows[: len(left)] = left
            followed, filled = followed - BATCH, len(left)
        followed += self._followed(rows[followed:filled], 0)
        self._meet()
        for begin in range(0, followed, BATCH):
            yield Packets(rows[begin : min(begin + BATCH, followed)], extras, before)

    def _followed(self, rows: npt.NDArray[np.void], held: int) -> int:
        """Put rows in the order of time and follow those that nothing earlier is expected to come after."""
        c = library()
        late_ns = DISORDER_NS if held else -1
        done = c.settled(pointer(rows), len(rows), late_ns, held)
        if done < 0:
            rows[:] = rows[np.argsort(rows["t_ns"], kind="stable")]
            done = c.settled(pointer(rows), len(rows), late_ns, held)
        if not done:
            return 0
        if not c.follow(self._follow, pointer(rows), done):
            raise MemoryError
        self._samples.write(copied("follow_samples", self._follow, SAMPLE).view(np.uint8).data)
        if c.follow_control(self._follow):
            self._control.append(rows[:done][rows["control"][:done] > 0])
        self.capture.count += done
        self.capture.last_ns = int(rows["t_ns"][done - 1])
        return int(done)

    def _meet(self) -> None:
        """Note the addresses and interfaces that came up."""
        texts = self.capture.addresses
        met = copied("parser_addresses", self._parser, ADDRESS)
        texts += [_text(each) for each in met[len(texts) :]]
        self.capture.interfaces = self._pcap.interfaces

    def _finish(self) -> None:
        found, c = self.capture, library()
        found.unread, found.problem, found.interfaces = (
            self._pcap.unread, self._pcap.problem, self._pcap.interfaces,
        )  # fmt: skip
        found.summaries = np.empty(c.follow_count(self._follow), SUMMARY)
        c.follow_summaries(self._follow, pointer(found.summaries))
        found.towards = copied("follow_towards", self._follow, FIRST)
        found.round_trips = _quantiles(self._samples, len(found.summaries))
        whole = np.concatenate(self._control) if self._control else np.empty(0, ROW)
        of_row = enumerate(whole["payload"].tolist())
        found.control = Packets(
            whole, payloads={at: self._payloads[number] for at, number in of_row if number}
        )


def _keep(parser: int, rows: npt.NDArray[np.void], payloads: dict[int, bytes]) -> None:
    """Enter the payloads of a chunk that are kept, by their numbers."""
    kept = copied("parser_kept", parser, KEPT)
    if not len(kept):
        return
    number = int(rows["payload"][rows["payload"] > 0].min())
    data = copied("parser_payloads", parser, np.dtype("u1")).tobytes()
    for offset, size in kept.tolist():
        payloads[number] = data[offset : offset + size]
        number += 1


def _text(address: np.void) -> str:
    packed = bytes(address["bytes"])
    return str(ipaddress.IPv4Address(packed[:4]) if address["family"] == 4 else ipaddress.IPv6Address(packed))


def _quantiles(samples: FileIO, flows: int) -> pl.DataFrame:
    """Least, middle and 95th percentile (nearest rank) of the round-trip times by flow and direction."""
    count = samples.tell() // SAMPLE.itemsize
    parts = -(-count // SAMPLES) or 1
    found = []
    for part in range(parts):  # each of other flows, so that memory stays bounded
        pieces = [np.empty(0, SAMPLE)]
        samples.seek(0)
        while len(some := np.fromfile(samples, SAMPLE, SAMPLES)):
            pieces.append(some if parts == 1 else some[some["flow"] % parts == part])
        chosen = np.concatenate(pieces)
        made = np.empty(2 * flows + 2, QUANTILES)
        number = library().quantiles(pointer(chosen), len(chosen), flows, pointer(made))
        if number < 0:
            raise MemoryError
        found.append(made[:number])
    whole = np.concatenate(found)
    return pl.DataFrame({name: whole[name] for name in QUANTILES.names or ()})
