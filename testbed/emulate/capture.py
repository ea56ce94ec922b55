"""One process captures every link: a ring buffer per link, written out block by block.

The kernel fills blocks of a TPACKET_V3 ring (Documentation/networking/packet_mmap.rst) and wakes
the process when one is full, so that a thousand packets cost two system calls. Blocks are written
as they are; they are made into pcap files outside, where processor time is cheap.

A link that is not captured all the time has its filter changed when the timeline says so, through a pipe:
a closed one has the filter that keeps nothing, so its packets neither reach the ring nor count.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed import namespaces

_SOL_PACKET = 263
_RX_RING, _STATISTICS, _VERSION = 5, 6, 10
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_BLOCKS, _FRAME = 16, 1 << 11
_BLOCK_BYTES, _LITTLE_BYTES = 1 << 17, 1 << 14  # of a block
_RETIRE_MS = 1_000  # a block that has waited so long is handed over though not full
_STATUS, _LENGTH = 8, 20  # offsets in a block of its status and of the bytes used


@dataclass
class Ring:
    """One link's ring: bind it, drain it, ask it for its statistics."""

    path: Path
    interface: int
    program: bytes
    block_bytes: int = _BLOCK_BYTES
    packets: int = 0
    drops: int = 0
    _next: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        frames = self.block_bytes // _FRAME * _BLOCKS
        ring = struct.pack("=7I", self.block_bytes, _BLOCKS, _FRAME, frames, _RETIRE_MS, 0, 0)
        self.socket.setsockopt(_SOL_PACKET, _RX_RING, ring)
        self.filter(self.program)
        self.memory = mmap.mmap(self.socket.fileno(), self.block_bytes * _BLOCKS, mmap.MAP_SHARED)
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        name = socket.if_indextoname(self.interface)
        self.socket.bind((name, _ETH_P_ALL))

    def filter(self, program: bytes) -> None:
        """Keep from now on what this program keeps (`testbed.bpf`)."""
        buffer = ctypes.create_string_buffer(program)
        fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)

    def drain(self) -> None:
        """Write out the blocks that the kernel has handed over, and hand them back."""
        while True:
            start = self._next * self.block_bytes
            (status,) = struct.unpack_from("=I", self.memory, start + _STATUS)
            if not status & 1:
                return
            (length,) = struct.unpack_from("=I", self.memory, start + _LENGTH)
            with memoryview(self.memory) as view, view[start : start + length] as block:
                os.write(self.file, block)
            struct.pack_into("=I", self.memory, start + _STATUS, 0)
            self._next = (self._next + 1) % _BLOCKS

    def count(self) -> None:
        """Take the kernel's count of packets so far, and of those it had no room for."""
        packets, drops, _freezes = struct.unpack("=3I", self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self.packets, self.drops = packets, drops

    def close(self) -> None:
        """Take the last packets."""
        self.drain()
        os.close(self.file)
        self.memory.close()
        self.socket.close()


def run(config: Mapping[str, Any]) -> None:
    """Capture until SIGTERM, then write the statistics; a service.

    `config`: links, a list of {namespace (descriptor), interface (index), path, program (in hexadecimal),
    little (whether hardly anything will be kept)};
    `ready` and `statistics`, paths of the files to be written when all rings are bound and at the end;
    `control`, the path of a pipe, if filters are to change: a line has a link's index in the list and the
    program that it has from now on.
    """
    stop, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    rings: dict[int, Ring] = {}
    poll = select.epoll()
    poll.register(stop, select.EPOLLIN)
    listed = []
    for link in config["links"]:
        with namespaces.inside(link["namespace"]):
            block_bytes = _LITTLE_BYTES if link["little"] else _BLOCK_BYTES
            keeps = bytes.fromhex(link["program"])
            ring = Ring(Path(link["path"]), link["interface"], keeps, block_bytes)
        listed.append(ring)
        rings[ring.socket.fileno()] = ring
        poll.register(ring.socket.fileno(), select.EPOLLIN)
    control = os.open(config["control"], os.O_RDONLY | os.O_NONBLOCK) if config["control"] else -1
    if config["control"]:
        poll.register(control, select.EPOLLIN)
    Path(config["ready"]).write_text("")
    orders = b""
    running = True
    while running:
        for number, events in poll.poll():
            if number == stop:
                running = False
                continue
            if number == control:
                *whole, orders = (orders + os.read(control, select.PIPE_BUF)).split(b"\n")
                for order in whole:
                    index, program = order.decode().split()
                    listed[int(index)].filter(bytes.fromhex(program))
                continue
            if events & select.EPOLLERR:
                # the interface went down; the socket takes packets again by itself when it comes back
                rings[number].socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            rings[number].drain()
    # What waits in half-full blocks comes when their timers have run out. It is counted before: whatever
    # comes meanwhile may be in a block whose timer has not.
    for ring in rings.values():
        ring.count()
    time.sleep(2 * _RETIRE_MS / 1000)
    for ring in rings.values():
        ring.close()
    Path(config["statistics"]).write_text(
        json.dumps({r.path.stem: {"packets": r.packets, "drops": r.drops} for r in rings.values()})
    )
