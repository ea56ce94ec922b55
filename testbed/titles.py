"""A title's segment sizes are generated, or read from a file made from a real video.

The generator follows a rate-controlled encoder. A segment's complexity, shared by all rungs, is
lognormal and its logarithm an AR(1) process; each rung adds a little noise of its own. The defaults
are what Big Buck Bunny shows in the segment list of the Sabre simulator's example (10 rungs, 199
segments of 3 s; Spiteri et al., MMSys 2018): a coefficient of variation of 0.165 to 0.202, on average
0.18; a correlation of -0.15 to -0.44, mostly -0.40, of one segment with the next (what a rate control
spent too much on one it saves on the next); of 0.88 to 0.99 between neighbouring rungs, except where
its encoding settings change.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed.job import Title

SPREAD = 0.17  # standard deviation of the logarithm of the complexity that rungs share
CARRY = -0.4  # correlation of one segment's complexity with the next one's
NOISE = 0.05  # standard deviation of what each rung adds
BITS = 8


def generate(
    name: str, length_ns: int, segment_ns: int, bitrates_bps: Sequence[int], seed: int | str
) -> Title:
    """A title of `length_ns`, rounded up to whole segments; the same arguments make the same title.

    The mean of each rung is its bitrate, to within a byte over the whole title. ValueError says which
    argument cannot be.
    """
    if length_ns <= 0 or segment_ns <= 0:
        raise ValueError(f"title {name}: length and segment must be longer than nothing")
    if odd := [rate for rate in bitrates_bps if rate % 1000 or rate <= 0]:
        raise ValueError(f"title {name}: a bitrate is a whole number of kbit/s, not {odd[0]} bit/s")
    bitrates_kbps = tuple(rate // 1000 for rate in bitrates_bps)
    check_ladder(name, bitrates_kbps)
    count = -(-length_ns // segment_ns)
    rng = random.Random(f"{seed}:{name}")
    complexity = rng.gauss(0, SPREAD)
    logs = []
    for _ in range(count):
        logs.append(complexity)
        complexity = CARRY * complexity + rng.gauss(0, SPREAD * math.sqrt(1 - CARRY**2))
    rungs = []
    for rate_bps in bitrates_bps:
        weights = [math.exp(log + rng.gauss(0, NOISE)) for log in logs]
        rungs.append(_share_out(rate_bps * count * segment_ns // (BITS * 10**9), weights))
    return Title(
        name=name,
        segment_ns=segment_ns,
        bitrates_kbps=bitrates_kbps,
        segment_bytes=tuple(zip(*rungs, strict=True)),
    )


def read(path: Path, name: str, length_ns: int | None = None) -> Title:
    """A title from a file as Sabre has them: `segment_duration_ms`, `bitrates_kbps`, `segment_sizes_bits`.

    `segment_sizes_bits` has a row for each segment, with a size for each bitrate. With `length_ns`
    the title is cut, or played over from its start, to that length, rounded up to whole segments.
    ValueError says what is wrong with the file, OSError that it cannot be read.
    """
    try:
        document = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as wrong:
        raise ValueError(f"{path}: not JSON: {wrong}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: not a segment list: an object with segment_duration_ms is wanted")  # noqa: TRY004
    segment_ms = _field(path, document, "segment_duration_ms")
    if not _positive(segment_ms):
        raise ValueError(f"{path}: segment_duration_ms is {segment_ms!r}, not a positive whole number")
    bitrates = _field(path, document, "bitrates_kbps")
    rows = _field(path, document, "segment_sizes_bits")
    if not isinstance(bitrates, list) or not all(_positive(rate) for rate in bitrates):
        raise ValueError(f"{path}: bitrates_kbps is not a list of positive whole numbers")
    check_ladder(str(path), bitrates)
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: segment_sizes_bits has no segment")
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(bitrates):
            raise ValueError(f"{path}: segment {index} has not one size for each of {len(bitrates)} bitrates")
        if not all(_positive(bits) for bits in row):
            raise ValueError(f"{path}: segment {index} has a size that is not a positive whole number")
    segment_ns = segment_ms * 10**6
    count = len(rows) if length_ns is None else -(-length_ns // segment_ns)
    if count <= 0:
        raise ValueError(f"title {name}: length must be longer than nothing")
    return Title(
        name=name,
        segment_ns=segment_ns,
        bitrates_kbps=tuple(bitrates),
        segment_bytes=tuple(
            tuple(-(-bits // BITS) for bits in rows[index % len(rows)]) for index in range(count)
        ),
    )


def _field(path: Path, document: dict[str, Any], name: str) -> Any:
    if name not in document:
        raise ValueError(f"{path}: has no {name}")
    return document[name]


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_ladder(where: str, bitrates_kbps: Sequence[int]) -> None:
    """ValueError if there are no bitrates, or they do not rise."""
    if not bitrates_kbps:
        raise ValueError(f"{where}: no bitrates")
    for low, high in pairwise(bitrates_kbps):
        if low >= high:
            raise ValueError(f"{where}: bitrates must rise, but {high} kbit/s follows {low} kbit/s")


def _share_out(total: int, weights: Sequence[float]) -> list[int]:
    """Split `total` into whole parts, as the weights are, that add up to it; each at least 1."""
    scale = total / math.fsum(weights)
    parts = [max(1, int(weight * scale)) for weight in weights]
    largest = sorted(
        range(len(parts)), key=lambda index: (int(weights[index] * scale) - weights[index] * scale, index)
    )
    for index in largest[: max(0, total - sum(parts))]:
        parts[index] += 1
    return parts
