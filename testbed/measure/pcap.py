"""A capture file is read in bounded chunks, each a buffer of bytes and a table of the records in it.

Formats: draft-ietf-opsawg-pcap (microseconds and nanoseconds) and draft-ietf-opsawg-pcapng (several
interfaces), of either byte order. A file that is empty, cut short or damaged gives what can be
read, and the bytes that cannot are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ctypes import byref, c_int64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from testbed.measure.native import RECORD, library, pointer

MAGIC_NANOSECONDS = 0xA1B23C4D
ETHERNET = 1
LARGEST = 262_144  # no record is longer (MAXIMUM_SNAPLEN of libpcap); a larger length is damage
FILE_HEADER = struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, LARGEST, ETHERNET)
CHUNK = 1 << 20  # larger ones fall out of the processor's cache
BLOCK = 65_536  # what a pcapng block may take beside the packet
MOST = 1 << 14  # packets in a chunk


@dataclass(frozen=True)
class Records:
    """Some packets of a file: where each lies in `buffer`, when it was seen, and how long it is.

    `buffer` is used again for the next chunk.
    """

    buffer: npt.NDArray[np.uint8]
    table: npt.NDArray[np.void]  # of layout RECORD

    def __len__(self) -> int:
        return len(self.table)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where in `buffer` each packet starts."""
        return self.table["offset"]

    @property
    def captured(self) -> npt.NDArray[np.int64]:
        """How many bytes of each packet there are."""
        return self.table["captured"].astype(np.int64)

    @property
    def wire(self) -> npt.NDArray[np.int64]:
        """How long each packet was on the wire, in bytes."""
        return self.table["wire"].astype(np.int64)

    @property
    def unix_ns(self) -> npt.NDArray[np.int64]:
        """When each packet was seen, in nanoseconds since 1970."""
        return self.table["unix_ns"]


def frame(path: Path, number: int) -> bytes:
    """What was captured of a packet of a file, by its number from 1; IndexError if there is none."""
    for records in Pcap(path):
        if number <= len(records):
            begin = records.offsets[number - 1]
            return records.buffer[begin : begin + records.captured[number - 1]].tobytes()
        number -= len(records)
    raise IndexError(f"{path} has no packet of that number")


class Pcap:
    """A capture file, iterated over in chunks.

    Afterwards `unread` is how many bytes made no record, and `problem` what is wrong with the file, or
    empty; `interfaces` is at any time the names of a pcapng file's interfaces as far as it is read (those
    without one are empty).
    """

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        self.path = path
        self.chunk = max(chunk, LARGEST + BLOCK)
        self.unread = 0
        self.interfaces: tuple[str, ...] = ()
        self.problem = ""

    def __iter__(self) -> Iterator[Records]:
        c = library()
        buffer, table = np.empty(self.chunk, np.uint8), np.empty(MOST, RECORD)
        view, used = buffer.data, c_int64()
        size = begin = 0
        scan = c.scan_new()
        try:
            with self.path.open("rb", buffering=0) as file:
                while True:
                    more = file.readinto(view[size:])
                    size += more or 0
                    found = MOST
                    while begin < size and not c.scan_state(scan):
                        start = pointer(buffer) + begin
                        found = c.scan_next(
                            scan, start, size - begin, LARGEST, pointer(table), MOST, byref(used)
                        )
                        self.interfaces += self._names(scan, len(self.interfaces))
                        if found:
                            taken = table[:found]
                            taken["offset"] += begin
                            yield Records(buffer, taken)
                        begin += used.value
                        if found < MOST:
                            break
                    if not more or c.scan_state(scan):
                        break
                    view[: size - begin] = bytes(view[begin:size])
                    size, begin = size - begin, 0
                self.unread = size - begin + self.path.stat().st_size - file.tell()
            self.problem = self._problem(c.scan_format(scan), c.scan_state(scan))
        finally:
            c.scan_free(scan)

    @staticmethod
    def _names(scan: int, known: int) -> tuple[str, ...]:
        c = library()
        names = (c.scan_name(scan, number) for number in range(known, c.scan_interfaces(scan)))
        return tuple(name.decode(errors="replace") for name in names)

    def _problem(self, kind: int, state: int) -> str:
        if not self.path.stat().st_size:
            return "is empty"
        if not kind:
            return "is no pcap or pcapng file of a link that can be read"
        if state:
            return f"is damaged {self.unread} bytes before its end"
        return f"is cut short: its last {self.unread} bytes make no packet" if self.unread else ""
