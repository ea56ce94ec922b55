"""All captures of a run as one pcapng, for Wireshark: interfaces by name, TLS secrets, comments at faults.

Format: draft-ietf-opsawg-pcapng. The captures are merged chunk by chunk, so memory is bounded by the
number of capture points, whatever their size. Times are those of the epoch; a packet that begins or ends a
fault, or is the next one after it, says so in a comment (`frame.comment` in Wireshark).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

import testbed
from testbed.exports import Export, Nothing, Progress
from testbed.job import SECRETS, Job
from testbed.measure.pcap import ETHERNET, Pcap, Records
from testbed.measure.points import Point, file_of, points
from testbed.measure.query import Tables

SECTION, INTERFACE, PACKET, DECRYPTION = 0x0A0D0D0A, 1, 6, 0x0A
BYTE_ORDER = 0x1A2B3C4D
TLS_KEYS = 0x544C534B
COMMENT = 1
_IF_NAME, _IF_DESCRIPTION, _IF_RESOLUTION = 2, 3, 9
_USER_APPLICATION = 4
_NANOSECONDS = b"\x09"  # ten to the minus nine
_IN, _OUT = 1, 2  # the direction bits of epb_flags
_FLAGS = 2
_HEAD = np.dtype([(name, "<u4") for name in ("type", "size", "interface", "high", "low", "captured", "wire")])
_TAIL = np.dtype([("code", "<u2"), ("length", "<u2"), ("flags", "<u4"), ("end", "<u4"), ("size", "<u4")])
_PADS = tuple(bytes(count) for count in range(4))
MEMORY = 16 << 20  # of all chunks together


class Pcapng(Export):
    """Wireshark and tshark, decrypted."""

    kind = "pcapng"
    ending = ".pcapng"
    picks: ClassVar = True

    def write(self, run: Path, into: Path, progress: Progress) -> int:
        """One section: its interfaces, the secrets, then all packets in the order of time."""
        job = Job.read(run)
        places = [point for point in chosen(points(job), self.at) if file_of(run, point).exists()]
        if not places:
            raise Nothing(f"{run} has no captures; a scenario with captures: all keeps them")
        comments = _comments(run)
        sizes = sum(file_of(run, point).stat().st_size for point in places)
        count = done = 0
        part = into.with_name(f".{into.name}.part")
        with part.open("wb") as file:
            _begin(file, run, job, places)
            for batch in _merged(run, places):
                comments = batch.write(file, comments)
                count += len(batch.unix_ns)
                done += batch.size
                progress(self.kind, done, sizes)
            if comments:
                _rest(file, comments)
        part.replace(into)
        return count


def chosen(places: Sequence[Point], at: Sequence[str]) -> list[Point]:
    """The capture points that are named by themselves, by their node, or by their link; all if none is."""
    found: list[Point] = []
    for name in at:
        flipped = "--".join(reversed(name.split("--")))
        those = [each for each in places if name in (each.name, each.node, each.link) or flipped == each.link]
        if not those:
            raise Nothing(
                f"nothing was captured at {name}; there are {', '.join(each.name for each in places)}"
            )
        found += [each for each in those if each not in found]
    return found if at else list(places)


def block(kind: int, body: bytes) -> bytes:
    """A block around its body."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def option(code: int, value: bytes) -> bytes:
    """An option; an end of options is still due after the last."""
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


_END = struct.pack("<HH", 0, 0)


def _begin(file: BinaryIO, run: Path, job: Job, places: Sequence[Point]) -> None:
    what = f"{job.scenario} on {job.topology}, seed {job.seed}, {job.clock} clock: run {run.name}"
    options = option(COMMENT, what.encode())
    options += option(_USER_APPLICATION, f"testbed {testbed.__version__}".encode())
    file.write(block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) + options + _END))
    for point in places:
        options = option(_IF_NAME, point.name.encode()) + option(_IF_DESCRIPTION, point.link.encode())
        options += option(_IF_RESOLUTION, _NANOSECONDS)
        file.write(block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + options + _END))
    secrets = run / SECRETS
    keys = secrets.read_bytes() if secrets.exists() else b""
    if keys:
        padded = keys + bytes(-len(keys) % 4)
        file.write(block(DECRYPTION, struct.pack("<II", TLS_KEYS, len(keys)) + padded))


Comments = list[tuple[int, str]]  # unix_ns and text, in the order of time


def _comments(run: Path) -> Comments:
    """What to say at which time: when each fault began, ended, healed."""
    t0_unix_ns = int(json.loads((run / "guest.json").read_text())["t0_unix_ns"])
    rows = Tables(run).sql(
        "select t_ns, fault, kind, target, phase from events"
        " where fault > 0 and phase not in ('planned', 'took_hold') order by t_ns, fault"
    )
    return [
        (t0_unix_ns + t_ns, f"fault {number} {kind} {target}: {phase} at {t_ns / 1e9:.9f} s")
        for t_ns, number, kind, target, phase in rows
    ]


def _rest(file: BinaryIO, comments: Comments) -> None:
    """What happened after the last packet: an interface statistics block can carry it (its comment)."""
    text = "\n".join(said for _, said in comments).encode()
    at_ns = comments[-1][0]
    body = struct.pack("<III", 0, at_ns >> 32, at_ns & 0xFFFFFFFF) + option(COMMENT, text) + _END
    file.write(block(5, body))


@dataclass
class _Source:
    """A capture that is read on demand: some packets of it that are not written yet."""

    number: int
    point: Point
    chunks: Iterator[Records]
    records: Records | None = None
    order: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    at: int = 0  # how many of `order` are written

    def fill(self) -> None:
        """Read the next chunk if the last is used up."""
        while self.records is None or self.at == len(self.order):
            self.records = next(self.chunks, None)
            if self.records is None:
                return
            self.order, self.at = np.argsort(self.records.unix_ns, kind="stable"), 0

    @property
    def last_ns(self) -> int:
        assert self.records is not None
        return int(self.records.unix_ns[self.order[-1]])

    def until(self, horizon_ns: int) -> npt.NDArray[np.int64]:
        """The packets that are not written and not later than the horizon, which then count as written."""
        assert self.records is not None
        times = self.records.unix_ns[self.order]
        stop = int(np.searchsorted(times, horizon_ns, side="right"))
        rows = self.order[self.at : stop]
        self.at = max(self.at, stop)
        return rows


@dataclass
class _Batch:
    """Packets in the order of time: the frames of each, and what heads them."""

    unix_ns: npt.NDArray[np.int64]
    frames: list[bytes]
    head: npt.NDArray[np.void]
    flags: npt.NDArray[np.uint32]
    size: int

    def write(self, file: BinaryIO, comments: Comments) -> Comments:
        """Write the packets, each comment with the first at or after its time; what is left comes later."""
        captured = self.head["captured"].astype(np.int64)
        pads = -captured % 4
        extra = np.zeros(len(captured), np.int64)
        said: dict[int, bytes] = {}
        places = np.searchsorted(self.unix_ns, [at_ns for at_ns, _ in comments])
        waiting = [one for one, place in zip(comments, places, strict=True) if place == len(captured)]
        for place in sorted({int(place) for place in places} - {len(captured)}):
            texts = [text for (_, text), where in zip(comments, places, strict=True) if where == place]
            said[place] = option(COMMENT, "\n".join(texts).encode())
            extra[place] = len(said[place])
        size = _HEAD.itemsize + captured + pads + extra + _TAIL.itemsize
        self.head["size"] = size
        tail = np.zeros(len(captured), _TAIL)
        tail["code"], tail["length"], tail["flags"], tail["size"] = _FLAGS, 4, self.flags, size
        heads, tails = self.head.tobytes(), tail.tobytes()
        wide, narrow = _HEAD.itemsize, _TAIL.itemsize
        pieces: list[bytes] = [b""] * (4 * len(captured))
        pieces[0::4] = [heads[at : at + wide] for at in range(0, len(heads), wide)]
        pieces[1::4] = self.frames
        pieces[2::4] = [_PADS[pad] for pad in pads.tolist()]
        pieces[3::4] = [tails[at : at + narrow] for at in range(0, len(tails), narrow)]
        for place, text in said.items():
            pieces[4 * place + 2] += text
        file.write(b"".join(pieces))
        return waiting


def _merged(run: Path, places: Sequence[Point]) -> Iterator[_Batch]:
    """The packets of all captures in the order of time; those of one instant by interface."""
    chunk = MEMORY // len(places)
    sources = [
        _Source(number, point, iter(Pcap(file_of(run, point), chunk))) for number, point in enumerate(places)
    ]
    while True:
        for source in sources:
            source.fill()
        sources = [source for source in sources if source.records is not None]
        if not sources:
            return
        # Beyond the earliest end of a chunk, that capture may have more to come.
        horizon_ns = min(source.last_ns for source in sources)
        taken = [(source, source.until(horizon_ns)) for source in sources]
        yield _batch([(source, rows) for source, rows in taken if len(rows)])


def _batch(taken: Sequence[tuple[_Source, npt.NDArray[np.int64]]]) -> _Batch:
    heads, frames, times, flags = [], [], [], []
    for source, rows in taken:
        records = source.records
        assert records is not None
        unix_ns, captured = records.unix_ns[rows], records.captured[rows]
        head = np.zeros(len(rows), _HEAD)
        head["type"], head["interface"] = PACKET, source.number
        head["high"], head["low"] = unix_ns >> 32, unix_ns & 0xFFFFFFFF
        head["captured"], head["wire"] = captured, records.wire[rows]
        begins = records.offsets[rows]
        raw = records.buffer.tobytes() if len(rows) > len(records.offsets) // 2 else None
        spans = zip(begins.tolist(), (begins + captured).tolist(), strict=True)
        some = [raw[a:b] if raw else records.buffer[a:b].tobytes() for a, b in spans]
        here, peer = source.point.mac, source.point.peer_mac
        if source.point.bridge:  # what a switch sends has the address of a station behind it
            out = [frame[6:12] != peer for frame in some]
        else:
            out = [frame[6:12] == here for frame in some]
        heads.append(head)
        frames += some
        times.append(unix_ns)
        flags.append(np.where(out, _OUT, _IN).astype(np.uint32))
    unix_ns = np.concatenate(times)
    order = np.argsort(unix_ns, kind="stable")
    return _Batch(
        unix_ns=unix_ns[order],
        frames=[frames[index] for index in order.tolist()],
        head=np.concatenate(heads)[order],
        flags=np.concatenate(flags)[order],
        size=sum(map(len, frames)) + 16 * len(frames),
    )
