"""A packet that a capture was not to see is not lost: windows and filters leave gaps in what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from testbed.measure.points import Point

NEVER, ALWAYS = -(2**62), 2**62


def covered(hops: pl.DataFrame, points: Sequence[Point], within_ns: int) -> pl.DataFrame:
    """The hops without losses that are none for sure.

    A loss stands if the link it would have left by took every packet from when it reached the node for
    `within_ns`; where that link is not known, every link of the node must have.
    """
    partial = [point for point in points if point.windows]
    if not partial:
        return hops
    sure = ~pl.col("lost")
    for point in points:
        here = pl.col("link") == point.link
        sure |= here & _open(point, within_ns) if point.windows else here
    for node in {name for point in points for name in (point.node, point.peer)}:
        around = [point for point in partial if node in (point.node, point.peer)]
        unknown = pl.col("link").is_null() & (pl.col("from") == node)
        sure |= unknown & pl.all_horizontal(pl.lit(True), *(_open(point, within_ns) for point in around))
    return hops.filter(sure.fill_null(False))


def _open(point: Point, within_ns: int) -> pl.Expr:
    """Whether a point took every packet from `sent_ns` on for so long."""
    spans = _joined(
        (NEVER if each.from_ns is None else each.from_ns, ALWAYS if each.until_ns is None else each.until_ns)
        for each in point.windows
        if not each.filter
    )
    sent = pl.col("sent_ns")
    return pl.any_horizontal(
        pl.lit(False), *((sent >= begin) & (sent + within_ns <= end) for begin, end in spans)
    )


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that meet, as one."""
    found: list[tuple[int, int]] = []
    for begin, end in spans:
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found
