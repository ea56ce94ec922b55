"""Netlink attributes that hold numbers, put together and taken apart (netlink(7))."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from testbed.emulate.netlink import attribute

_HEADER = struct.Struct("=HH")  # length, type
_TYPE = 0x3FFF  # the other bits say "nested" and "in network order"


def packed(number: int, form: str, *values: int) -> bytes:
    """An attribute with numbers, in the `form` that `struct` gives them."""
    return attribute(number, struct.pack(f"={form}", *values))


def unpacked(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that follow one another in `data`: (number, value)."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, number = _HEADER.unpack_from(data, offset)
        yield number & _TYPE, data[offset + _HEADER.size : offset + length]
        offset += (max(length, _HEADER.size) + 3) & ~3
