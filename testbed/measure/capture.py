"""A capture is read once, in bounded memory: parsed, put in the order of time, followed, and spooled.

Flows and addresses are numbered within the capture, for what a run calls them is known only when all
captures are read. The spool holds the rows until then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure.native import (
    ADDRESS,
    EXTRA,
    FIRST,
    KEPT,
    ROW,
    SAMPLE,
    SUMMARY,
    copied,
    library,
    pointer,
)
from testbed.measure.packets import WHOLE_PORTS, Packets
from testbed.measure.pcap import Pcap
from testbed.measure.points import Point

# Two processors that feed one socket can leave a capture slightly out of order (0.4 ms were seen).
DISORDER_NS = 100_000_000
HELD = 1 << 18  # rows kept back for that at most
SAMPLES = 4_000_000  # round-trip times of which quantiles are taken at a time
BATCH = 1 << 17  # rows read from a spool at a time


@dataclass
class Capture:
    """What one capture point saw; the rows themselves are in the spool, in the order of time."""

    point: Point
    spool: Path
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

    def packets(self, batch: int = BATCH) -> Iterator[Packets]:
        """All packets, some at a time, without payloads."""
        with self.spool.open("rb", buffering=0) as rows, self.extras.open("rb", buffering=0) as extras:
            while len(some := np.fromfile(rows, ROW, batch)):
                numbers = some["extra"][some["extra"] > 0]
                if not len(numbers):
                    yield Packets(some)
                    continue
                first, last = int(numbers.min()), int(numbers.max())
                extras.seek((first - 1) * EXTRA.itemsize)
                yield Packets(some, np.fromfile(extras, EXTRA, last - first + 1), first - 1)

    @property
    def extras(self) -> Path:
        """Where the spool has what few packets have."""
        return self.spool.with_name(f"{self.spool.name}.extras")


def read(path: Path, point: Point, t0_unix_ns: int, spool: Path, chunk: int | None = None) -> Capture:
    """Read a capture file taken at a point; times become nanoseconds since `t0_unix_ns`.

    A file that is not there is an empty capture.
    """
    found = Capture(point, spool)
    c = library()
    known = point.mac != bytes(6) or point.bridge
    parser = c.parser_new(t0_unix_ns, point.mac, point.peer_mac, point.bridge, point.peer_bridge, known)
    follow = c.follow_new()
    pcap = Pcap(path) if chunk is None else Pcap(path, chunk)
    samples = spool.with_name(f"{spool.name}.samples")
    control: list[npt.NDArray[np.void]] = []
    payloads: dict[int, bytes] = {}
    order = _Order()
    try:
        with (
            spool.open("wb", buffering=0) as rows_file,
            found.extras.open("wb", buffering=0) as extras_file,
            samples.open("wb", buffering=0) as samples_file,
        ):

            def took(rows: npt.NDArray[np.void]) -> None:
                if not len(rows):
                    return
                if not c.follow(follow, pointer(rows), len(rows)):
                    raise MemoryError
                rows.tofile(rows_file)
                copied("follow_samples", follow, SAMPLE).tofile(samples_file)
                whole = rows["payload"] > 0
                for port in WHOLE_PORTS:
                    whole |= (rows["sport"] == port) | (rows["dport"] == port)
                control.append(rows[whole])
                found.count += len(rows)
                found.last_ns = max(int(rows["t_ns"].max()), found.last_ns or -(1 << 62))

            for records in pcap if path.exists() else ():
                rows = np.empty(len(records), ROW)
                if not c.parse(
                    parser, pointer(records.buffer), pointer(records.table), len(rows), pointer(rows)
                ):
                    raise MemoryError
                copied("parser_extras", parser, EXTRA).tofile(extras_file)
                kept = copied("parser_kept", parser, KEPT)
                if len(kept):
                    number = int(rows["payload"][rows["payload"] > 0].min())
                    data = copied("parser_payloads", parser, np.dtype("u1")).tobytes()
                    for offset, size in kept.tolist():
                        payloads[number] = data[offset : offset + size]
                        number += 1
                took(order.push(rows))
            took(order.rest())
        found.unread, found.problem, found.interfaces = pcap.unread, pcap.problem, pcap.interfaces
        found.addresses = [_text(each) for each in copied("parser_addresses", parser, ADDRESS)]
        found.summaries = np.empty(c.follow_count(follow), SUMMARY)
        c.follow_summaries(follow, pointer(found.summaries))
        found.towards = copied("follow_towards", follow, FIRST)
        found.round_trips = _quantiles(samples)
        rows = np.concatenate(control) if control else np.empty(0, ROW)
        of_row = enumerate(rows["payload"].tolist())
        found.control = Packets(rows, payloads={at: payloads[number] for at, number in of_row if number})
    finally:
        c.parser_free(parser)
        c.follow_free(follow)
        samples.unlink(missing_ok=True)
    return found


class _Order:
    """Puts rows in the order of time that come slightly out of it, by keeping the last ones back."""

    def __init__(self) -> None:
        self._held = np.empty(0, ROW)

    def push(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """Take rows, and return those that nothing earlier is expected to follow."""
        rows = np.concatenate([self._held, rows]) if len(self._held) else rows
        times = rows["t_ns"].copy()
        if (np.diff(times) < 0).any():
            order = np.argsort(times, kind="stable")
            rows, times = rows[order], times[order]
        done = int(np.searchsorted(times, times[-1] - DISORDER_NS)) if len(times) else 0
        done = max(done, len(rows) - HELD)
        self._held = rows[done:]
        return rows[:done]

    def rest(self) -> npt.NDArray[np.void]:
        """What was kept back."""
        rows, self._held = self._held, np.empty(0, ROW)
        return rows


def _text(address: np.void) -> str:
    packed = bytes(address["bytes"])
    return str(ipaddress.IPv4Address(packed[:4]) if address["family"] == 4 else ipaddress.IPv6Address(packed))


def _quantiles(samples: Path) -> pl.DataFrame:
    """Least, middle and 95th percentile (nearest rank) of the round-trip times by flow and direction."""
    rtt = pl.col("rtt_ns")
    count = samples.stat().st_size // SAMPLE.itemsize
    parts = -(-count // SAMPLES) or 1
    found = []
    for part in range(parts):  # each of other flows, so that memory stays bounded
        pieces = []
        with samples.open("rb", buffering=0) as file:
            while len(some := np.fromfile(file, SAMPLE, SAMPLES)):
                pieces.append(some if parts == 1 else some[some["flow"] % parts == part])
        chosen = np.concatenate(pieces) if pieces else np.empty(0, SAMPLE)
        frame = pl.DataFrame({name: chosen[name] for name in ("flow", "ahead", "rtt_ns")})
        found.append(
            frame.group_by("flow", "ahead").agg(
                rtt_min_ns=rtt.min(),
                rtt_p50_ns=rtt.quantile(0.5, "nearest").cast(pl.Int64),
                rtt_p95_ns=rtt.quantile(0.95, "nearest").cast(pl.Int64),
            )
        )
    return pl.concat(found).sort("flow", "ahead")
