"""How a delay is spread around its mean: the tables of numbers that netem draws from.

A table holds a distribution's quantiles in steps of equal probability, in units of 1/8192 standard
deviation (tc-netem(8); NETEM_DIST_SCALE). iproute2's tables of the same names are of the same shapes;
but those with a tail have a deviation of 0.82 and a mean of -0.03, for they are cut off without
being set right.
"""

from __future__ import annotations

import functools
import math
import statistics
import struct

_SCALE = 8192
_QUANTILES = 4096
_MOST = 32767 / _SCALE  # what 16 bits hold, in standard deviations
_PARETO_SHAPE = 3.0  # as iproute2's
_NORMAL_PART = 0.25  # of paretonormal, as iproute2's
_ROUNDS = 40  # enough for the mean and the deviation to settle within what rounding costs

NONE = struct.pack("=h", 0)  # our kernel takes a table of one number for none: jitter is uniform


@functools.cache
def table(name: str) -> bytes:
    """The table of normal, pareto or paretonormal; of uniform, which needs none, the one that takes it away.

    ValueError for any other name.
    """
    if name == "uniform":
        return NONE
    shares = [(index + 0.5) / _QUANTILES for index in range(_QUANTILES)]
    if name == "normal":
        values = _normal(shares)
    elif name == "pareto":
        values = _pareto(shares)
    elif name == "paretonormal":
        pairs = zip(_normal(shares), _pareto(shares), strict=True)
        values = _cut([_NORMAL_PART * a + (1 - _NORMAL_PART) * b for a, b in pairs])
    else:
        raise ValueError(f"{name} is no distribution; write uniform, normal, pareto or paretonormal")
    return struct.pack(f"={_QUANTILES}h", *(round(value * _SCALE) for value in values))


def _normal(shares: list[float]) -> list[float]:
    return [statistics.NormalDist().inv_cdf(share) for share in shares]


def _pareto(shares: list[float]) -> list[float]:
    return _cut([(1 - share) ** (-1 / _PARETO_SHAPE) for share in shares])


def _cut(values: list[float]) -> list[float]:
    """Move, scale and cut values off so that what is left has mean 0 and deviation 1."""
    kept = values
    for _ in range(_ROUNDS):
        mean = statistics.fmean(kept)
        deviation = math.sqrt(statistics.fmean((value - mean) ** 2 for value in kept))
        values = [(value - mean) / deviation for value in values]
        kept = [min(_MOST, value) for value in values]
    return kept
