"""A trace is what a real link carried over time, read from a file; the link repeats it.

Two formats are read, by the name's end. `.csv`: a header `time,rate`, then a line for each change,
times rising from 0 (`0.5s`, or plain seconds), rates with their unit; the last rate lasts as long as
the one before it. Anything else is Mahimahi's format (Netravali et al., USENIX ATC 2015; `.down` and
`.up` by its custom): a line for each opportunity to send a packet of 1,500 bytes, in whole
milliseconds, never falling; the last one is the trace's length.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from testbed.job import Trace
from testbed.refusal import Wrong, quoted
from testbed.units import Duration, Quantity, Rate, show_duration

_Q = TypeVar("_Q", bound=Quantity)

LINES_MOST = 1_000_000  # a job.json of some 20 MB
_BYTES_MOST = 2**25
_MS = 10**6
ETHERNET_BYTES = 14  # of a frame's header, which lengths and rates count and an MTU does not
_FRAME_BITS = 8 * (1500 + ETHERNET_BYTES)  # what an opportunity carries
_MILLISECONDS = 12  # digits


@dataclass(frozen=True)
class TraceFile:
    """A trace under the name that it has in the job, on whatever machine."""

    name: str
    trace: Trace


def read(path: Path) -> Trace:
    """The trace of a file; ValueError says what is wrong in which line, OSError that it cannot be read."""
    with path.open("rb") as file:
        raw = file.read(_BYTES_MOST + 1)
    lines = raw.decode("utf-8-sig", "replace").splitlines()
    if len(raw) > _BYTES_MOST or len(lines) > LINES_MOST:
        raise Wrong(f"{path} has more than {LINES_MOST:,} lines", "cut it; a link repeats its trace")
    if not any(line.strip() for line in lines):
        raise Wrong(
            f"{path} is empty", "write a line for each packet, in milliseconds, or CSV with time,rate"
        )
    return _csv(path, lines) if path.suffix.lower() == ".csv" else _mahimahi(path, lines)


def named(written: str, path: Path) -> TraceFile:
    """The trace of a file under the path that somebody wrote; of one from the root, under its last part.

    Raises what `read` does.
    """
    trace = read(path)
    if not Path(written).is_absolute():
        return TraceFile(Path(os.path.normpath(written)).as_posix(), trace)
    told = hashlib.sha256(repr(trace).encode()).hexdigest()[:8]
    return TraceFile(f"{path.name}.{told}", trace)


def mean_bps(trace: Trace) -> int:
    """What a link carries on average while it repeats a trace, counted from the Ethernet header on."""
    if not trace.rates_bps:
        return len(trace.times_ns) * _FRAME_BITS * 10**9 // trace.period_ns
    lasting = pairwise((*trace.times_ns, trace.period_ns))
    bits = sum((until - since) * rate for (since, until), rate in zip(lasting, trace.rates_bps, strict=True))
    return bits // trace.period_ns


def _mahimahi(path: Path, lines: list[str]) -> Trace:
    times: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= _MILLISECONDS):
            raise Wrong(
                f"{path}:{number}: {quoted(text)} is no whole number of milliseconds", "write for example 12"
            )
        times.append(int(text) * _MS)
        if len(times) > 1 and times[-1] < times[-2]:
            raise Wrong(
                f"{path}:{number}: {text} comes after {times[-2] // _MS}", "write the milliseconds rising"
            )
    if not times[-1]:
        raise Wrong(
            f"{path}:{len(times)}: the trace ends at 0 ms", "the last line is its length: write 1 or more"
        )
    return Trace(period_ns=times[-1], times_ns=tuple(times))


def _csv(path: Path, lines: list[str]) -> Trace:
    header = [column.strip().lower() for column in lines[0].split(",")]
    if header != ["time", "rate"]:
        raise Wrong(f"{path}:1: the header is {quoted(lines[0].strip())}", "write time,rate")
    times: list[int] = []
    rates: list[int] = []
    for number, time_ns, rate_bps in _rows(path, lines):
        if not times and time_ns:
            raise Wrong(
                f"{path}:{number}: the first time is {show_duration(time_ns)}", "count the times from 0s"
            )
        if times and time_ns <= times[-1]:
            what = f"{path}:{number}: {show_duration(time_ns)} comes after {show_duration(times[-1])}"
            raise Wrong(what, "write the times rising, each once")
        times.append(time_ns)
        rates.append(rate_bps)
    if len(times) < 2:
        raise Wrong(
            f"{path} has {len(times) or 'no'} rate{'' if len(times) == 1 else 's'}",
            "write two or more; a fixed one is the link's rate",
        )
    if not any(rates):
        raise Wrong(f"{path} lets nothing through", "write a rate above 0; link-down is the fault for that")
    return Trace(period_ns=2 * times[-1] - times[-2], times_ns=tuple(times), rates_bps=tuple(rates))


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, int, int]]:
    """The line's number, its time in nanoseconds and its rate in bits per second."""
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 2:
            raise Wrong(
                f"{path}:{number}: {quoted(line.strip())} is no time and rate",
                "write for example 0.5s,12mbit",
            )
        time = cells[0] if cells[0][-1:].isalpha() else f"{cells[0]}s"
        yield (
            number,
            int(_quantity(path, number, Duration, time)),
            int(_quantity(path, number, Rate, cells[1])),
        )


def _quantity(path: Path, number: int, kind: type[_Q], text: str) -> _Q:
    try:
        return kind.parse(text)
    except Wrong as wrong:
        raise Wrong(f"{path}:{number}: {wrong.what}", wrong.hint) from None
