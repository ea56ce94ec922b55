"""A ring dump holds the blocks of a packet socket as the kernel filled them; it becomes a pcap.

The guest's capture process writes raw TPACKET_V3 blocks, each cut to its `blk_len`, one after the
other: nothing is done per packet while virtual time runs. Layouts are those of linux/if_packet.h,
little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ctypes import byref, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from testbed.measure.native import library, pointer
from testbed.measure.pcap import FILE_HEADER

BLOCK = struct.Struct("<IIIIIIQIIII")  # version, offset_to_priv, status, num_pkts, first, blk_len, …


@dataclass(frozen=True)
class Converted:
    """How many packets a ring dump gave, and how many its blocks announce that cannot be read."""

    packets: int
    unreadable: int


def convert(ring: Path, pcap: Path) -> Converted:
    """Write the packets of a ring dump as a nanosecond pcap, in the order of the ring.

    What a torn or damaged block still holds is kept; the rest is counted. Equal rings give equal
    files.
    """
    packets = unreadable = 0
    records, written = np.empty(0, np.uint8), c_uint64()
    with ring.open("rb") as source, pcap.open("wb") as target:
        target.write(FILE_HEADER)
        for block, announced in _blocks(source):
            if len(records) < len(block):
                records = np.empty(len(block), np.uint8)
            found = library().unring(block, len(block), announced, pointer(records), byref(written))
            packets += found
            unreadable += announced - found
            target.write(records[: written.value].data)
    return Converted(packets, unreadable)


def _blocks(source: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Every block with the number of packets it announces; the last may be short."""
    while header := source.read(BLOCK.size):
        if len(header) < BLOCK.size:
            yield header, 1
            return
        announced, length = BLOCK.unpack(header)[3], BLOCK.unpack(header)[5]
        if length < BLOCK.size:  # nothing says where the next block starts
            yield header, max(announced, 1)
            return
        yield header + source.read(length - BLOCK.size), announced
