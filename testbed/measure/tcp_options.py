"""TCP options are walked for all packets at once: timestamps (RFC 7323) and SACK blocks (RFC 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

END, NOP, SACK, TIMESTAMPS = 0, 1, 5, 8
MOST_BLOCKS = 4  # that fit in 40 bytes of options
STAMPS = np.dtype([("value", ">u4"), ("echo", ">u4")])


@dataclass(frozen=True)
class Options:
    """What the options of each segment say."""

    has_stamps: npt.NDArray[np.bool_]
    ts_val: npt.NDArray[np.uint32]
    ts_ecr: npt.NDArray[np.uint32]
    sack_counts: npt.NDArray[np.uint8]  # numbers in the segment's list: two a block
    sack: npt.NDArray[np.uint32]  # all lists one after the other: left edge, right edge, …


def walk(headers: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> Options:
    """Read the options of TCP headers: rows of 60 bytes, of which `lengths` belong to the header.

    A malformed option ends the walk of its segment, as it does in Linux.
    """
    count = len(headers)
    stamps = np.zeros(count, STAMPS)
    has_stamps = np.zeros(count, np.bool_)
    blocks = np.zeros((count, 2 * MOST_BLOCKS), np.uint32)
    sack_counts = np.zeros(count, np.uint8)

    # Nearly every segment of Linux starts its options with NOP, NOP, timestamps.
    usual = (lengths >= 32) & (headers[:, 20:24] == (NOP, NOP, TIMESTAMPS, 10)).all(axis=1)
    stamps[usual] = np.ascontiguousarray(headers[usual, 24:32]).view(STAMPS)[:, 0]
    has_stamps[usual] = True

    rows = np.flatnonzero(lengths > np.where(usual, 32, 20))
    at = np.where(usual[rows], 32, 20)
    while len(rows):
        kind = headers[rows, at]
        more = kind != END
        size = np.where(kind == NOP, 1, headers[rows, np.minimum(at + 1, 59)].astype(np.int64))
        sound = (at + size <= lengths[rows]) & ((size >= 2) | (kind == NOP))

        found = np.flatnonzero(sound & (kind == TIMESTAMPS) & (size == 10))
        if len(found):
            columns = at[found, None] + np.arange(2, 10)
            stamps[rows[found]] = headers[rows[found, None], columns].view(STAMPS)[:, 0]
            has_stamps[rows[found]] = True
        for size_of_option in range(10, 3 + 8 * MOST_BLOCKS, 8):
            found = np.flatnonzero(sound & (kind == SACK) & (size == size_of_option))
            if len(found):
                numbers = (size_of_option - 2) // 4
                columns = at[found, None] + np.arange(2, size_of_option)
                blocks[rows[found], :numbers] = headers[rows[found, None], columns].view(">u4")
                sack_counts[rows[found]] = numbers

        at = at + size
        going_on = more & sound & (at < lengths[rows])
        rows, at = rows[going_on], at[going_on]
    return Options(
        has_stamps=has_stamps,
        ts_val=stamps["value"].astype(np.uint32),
        ts_ecr=stamps["echo"].astype(np.uint32),
        sack_counts=sack_counts,
        sack=blocks[np.arange(2 * MOST_BLOCKS) < sack_counts[:, None]],
    )
