"""A ring dump holds the blocks of a packet socket as the kernel filled them; it becomes a pcap.

The guest's capture process writes raw TPACKET_V3 blocks, each cut to its `blk_len`, one after the
other: nothing is done per packet while virtual time runs. Layouts are those of linux/if_packet.h,
little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from testbed.measure.pcap import FILE_HEADER

BLOCK = struct.Struct("<IIIIIIQIIII")  # version, offset_to_priv, status, num_pkts, first, blk_len, …
PACKET = np.dtype(
    [
        ("next_offset", "<u4"),
        ("seconds", "<u4"),
        ("nanoseconds", "<u4"),
        ("captured", "<u4"),
        ("wire", "<u4"),
        ("status", "<u4"),
        ("mac", "<u2"),
        ("net", "<u2"),
        ("rxhash", "<u4"),
        ("vlan_tci", "<u4"),
        ("vlan_tpid", "<u2"),
        ("padding", "V10"),
    ]
)
RECORD = np.dtype([("seconds", "<u4"), ("fraction", "<u4"), ("captured", "<u4"), ("wire", "<u4")])
VLAN_VALID = 1 << 4  # TP_STATUS_VLAN_VALID: the kernel took the tag out of the frame
VLAN_TPID_VALID = 1 << 6
VLAN_TPID = 0x8100  # where the kernel does not say which (IEEE 802.1Q)
MACS = 12  # the tag goes back behind the two MAC addresses


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
    with ring.open("rb") as source, pcap.open("wb") as target:
        target.write(FILE_HEADER)
        for block, announced in _blocks(source):
            offsets = _walk(block, announced)
            packets += len(offsets)
            unreadable += max(announced - len(offsets), 0)
            if len(offsets):
                target.write(_records(block, offsets))
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


def _walk(block: bytes, announced: int) -> npt.NDArray[np.int64]:
    """The offset of every packet header in a block whose packet is whole."""
    offsets: list[int] = []
    if len(block) < BLOCK.size:
        return np.empty(0, np.int64)
    words = memoryview(block)[: len(block) // 4 * 4].cast("I")
    at = BLOCK.unpack_from(block)[4]
    last = len(block) - PACKET.itemsize
    for _ in range(announced):
        if at > last or at % 4:
            break
        offsets.append(at)
        step = words[at >> 2]
        if step < PACKET.itemsize:  # 0 in the last packet of a block
            break
        at += step
    found = np.array(offsets, np.int64)
    headers = gather(np.frombuffer(block, np.uint8), found, PACKET)
    whole: npt.NDArray[np.bool_] = found + headers["mac"] + headers["captured"].astype(np.int64) <= len(block)
    return found[whole]


def _records(block: bytes, offsets: npt.NDArray[np.int64]) -> bytes:
    """The pcap records of the packets at these offsets."""
    headers = gather(np.frombuffer(block, np.uint8), offsets, PACKET)
    tagged = (headers["status"] & VLAN_VALID != 0) & (headers["captured"] >= MACS)
    records = np.empty(len(offsets), RECORD)
    records["seconds"] = headers["seconds"]
    records["fraction"] = headers["nanoseconds"]
    records["captured"] = headers["captured"] + 4 * tagged
    records["wire"] = headers["wire"] + 4 * tagged
    starts = offsets + headers["mac"]
    ends = starts + headers["captured"]
    record_bytes = records.tobytes()
    size = RECORD.itemsize
    pieces: list[bytes] = [b""] * (2 * len(offsets))
    pieces[0::2] = [record_bytes[at : at + size] for at in range(0, len(record_bytes), size)]
    pieces[1::2] = [block[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    for index in np.flatnonzero(tagged).tolist():
        header, frame = headers[index], pieces[2 * index + 1]
        tpid = int(header["vlan_tpid"]) if header["status"] & VLAN_TPID_VALID else VLAN_TPID
        tag = struct.pack(">HH", tpid, int(header["vlan_tci"]) & 0xFFFF)
        pieces[2 * index + 1] = frame[:MACS] + tag + frame[MACS:]
    return b"".join(pieces)


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
