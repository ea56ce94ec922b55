"""How a line serialises, as our queueing discipline is told it (testbed/kernel/sch_line.c)."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Mapping

from testbed.emulate import attributes
from testbed.emulate.netlink import attribute
from testbed.job import Shape, Trace

_RATE, _START, _TRACE, _WORDS, _CHECKSUM = 2, 3, 4, 5, 6
_TRACE_FORM = "QII"  # period, length, whether it is of rates
_NO_TRACE = attributes.packed(_TRACE, _TRACE_FORM, 0, 0, 0)
_CHUNK_BYTES = 30_000  # an attribute holds at most 64 KiB, and netlink's buffers a few of them


def messages(
    shape: Shape, traces: Mapping[str, Trace] | None = None, start_ns: int | None = None
) -> list[bytes]:
    """The options that give a line its rate or trace, one of them a request; KeyError for an unknown trace.

    `start_ns` is the Unix time at which the trace begins. Without `traces` a line keeps the trace that
    it has. A trace takes effect with the last message, and where it is none but the one in force, or a
    rate is the one in force, not even the packet being sent is disturbed.
    """
    if shape.trace is None:
        return [_NO_TRACE + attributes.packed(_RATE, "Q", shape.rate_bps or 0)]
    start = b"" if start_ns is None else attributes.packed(_START, "q", start_ns)
    if traces is None:
        return [start]
    trace = traces[shape.trace]
    words = _words(trace)
    chunks = [attribute(_WORDS, words[at : at + _CHUNK_BYTES]) for at in range(0, len(words), _CHUNK_BYTES)]
    announced = attributes.packed(_TRACE, _TRACE_FORM, *_form(trace))
    return [announced, *chunks[:-1], chunks[-1] + attributes.packed(_RATE, "Q", 0) + start]


def read(options: bytes) -> dict[str, object]:
    """What a line's options say."""
    found = dict(attributes.unpacked(options))
    (rate,) = struct.unpack("=Q", found[_RATE])
    (checksum,) = struct.unpack("=I", found[_CHECKSUM])
    period_ns, length, rated = struct.unpack(f"={_TRACE_FORM}", found[_TRACE])
    return {"rate_bps": rate, "trace": _told(period_ns, length, rated, checksum)}


def wanted(shape: Shape, traces: Mapping[str, Trace]) -> dict[str, object]:
    """What `read` gives of a line that has this shape."""
    if shape.trace is None:
        return {"rate_bps": shape.rate_bps or 0, "trace": _told(0, 0, 0, 0)}
    trace = traces[shape.trace]
    return {"rate_bps": 0, "trace": _told(*_form(trace), zlib.crc32(_words(trace)))}


def _form(trace: Trace) -> tuple[int, int, int]:
    return trace.period_ns, len(trace.times_ns), bool(trace.rates_bps)


def _told(period_ns: int, length: int, rated: int, checksum: int) -> str:
    if not length:
        return "none"
    entries = "rates" if rated else "opportunities"
    return f"{length} {entries} in {period_ns} ns (CRC-32 {checksum:08x})"


@functools.lru_cache(maxsize=8)
def _words(trace: Trace) -> bytes:
    return struct.pack(f"={len(trace.times_ns) + len(trace.rates_bps)}Q", *trace.times_ns, *trace.rates_bps)
