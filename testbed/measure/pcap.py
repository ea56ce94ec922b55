"""A pcap file is read in bounded chunks, each a buffer of bytes and an index of the records in it.

Format: draft-ietf-opsawg-pcap. Microsecond and nanosecond files of either byte order are read;
Ethernet only. A file that is empty, cut short or damaged gives what can be read, and the bytes
that cannot are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

MAGIC_NANOSECONDS = 0xA1B23C4D
MAGIC_MICROSECONDS = 0xA1B2C3D4
ETHERNET = 1
LARGEST = 262_144  # no record is longer (MAXIMUM_SNAPLEN of libpcap); a larger length is damage
FILE_HEADER = struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, LARGEST, ETHERNET)
RECORD = np.dtype([("seconds", "<u4"), ("fraction", "<u4"), ("captured", "<u4"), ("wire", "<u4")])
CHUNK = 16 << 20
Order = Literal["<", ">"]
SLACK = 512  # zeros behind a chunk, so that headers can be gathered before lengths are looked at


@dataclass(frozen=True)
class Records:
    """Some packets of a file: where each lies in `buffer`, when it was seen, and how long it is."""

    buffer: npt.NDArray[np.uint8]  # ends with SLACK zeros
    offsets: npt.NDArray[np.int64]
    captured: npt.NDArray[np.int64]
    wire: npt.NDArray[np.int64]
    unix_ns: npt.NDArray[np.int64]


def gather(
    buffer: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], layout: np.dtype[np.void]
) -> npt.NDArray[np.void]:
    """The structures of this layout that start at these offsets of the buffer, aligned or not."""
    size = layout.itemsize
    if not len(offsets):
        return np.empty(0, layout)
    # Opaque bytes are copied in one go; a structure would be copied field by field.
    at_every_byte: npt.NDArray[np.void] = np.ndarray(
        len(buffer) - size + 1, f"V{size}", buffer.data, strides=(1,)
    )
    return at_every_byte[offsets].view(layout)


class Pcap:
    """A capture file, iterated over in chunks; afterwards `unread` is the bytes that made no record."""

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        self.path = path
        self.chunk = max(chunk, LARGEST + RECORD.itemsize)
        self.unread = 0

    def __iter__(self) -> Iterator[Records]:
        self.unread = 0
        with self.path.open("rb") as file:
            header = file.read(len(FILE_HEADER))
            read = _file_header(header)
            if read is None:
                self.unread = self.path.stat().st_size
                return
            order, scale = read
            rest = b""
            while more := file.read(self.chunk):
                data = rest + more
                offsets, end, damaged = _walk(data, order)
                if len(offsets):
                    yield _records(data, offsets, order, scale)
                rest = data[end:]
                if damaged:
                    self.unread = len(rest) + self.path.stat().st_size - file.tell()
                    return
            self.unread = len(rest)


def _file_header(header: bytes) -> tuple[Order, int] | None:
    """The byte order and the nanoseconds of a fraction's unit; None if this is no Ethernet pcap."""
    if len(header) < len(FILE_HEADER):
        return None
    orders: tuple[Order, Order] = ("<", ">")
    for order in orders:
        magic, *_, network = struct.unpack(f"{order}IHHiIII", header)
        for known, scale in ((MAGIC_NANOSECONDS, 1), (MAGIC_MICROSECONDS, 1000)):
            if magic == known and network & 0xFFFF == ETHERNET:
                return order, scale
    return None


def _walk(data: bytes, order: Order) -> tuple[npt.NDArray[np.int64], int, bool]:
    """The offset of every whole record, where the first that is not whole starts, and if it is damaged."""
    captured = struct.Struct(f"{order}8xI").unpack_from
    offsets: list[int] = []
    at, last, size = 0, len(data) - RECORD.itemsize, len(data)
    damaged = False
    while at <= last:
        (length,) = captured(data, at)
        following = at + 16 + length
        if following > size:
            damaged = length > LARGEST
            break
        if length > LARGEST:
            damaged = True
            break
        offsets.append(at)
        at = following
    return np.array(offsets, np.int64), at, damaged


def _records(data: bytes, offsets: npt.NDArray[np.int64], order: Order, scale: int) -> Records:
    buffer = np.frombuffer(data + bytes(SLACK), np.uint8)
    headers = gather(buffer, offsets, RECORD.newbyteorder(order))
    seconds = headers["seconds"].astype(np.int64)
    return Records(
        buffer=buffer,
        offsets=offsets + RECORD.itemsize,
        captured=headers["captured"].astype(np.int64),
        wire=headers["wire"].astype(np.int64),
        unix_ns=seconds * 1_000_000_000 + headers["fraction"].astype(np.int64) * scale,
    )
