"""Numbers from samples: percentiles, and how far a share or a ratio is to be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.units import show_duration

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest observed value that at least `share` of all values do not exceed.

    This is the nearest-rank definition (Hyndman and Fan 1996, type 1; DuckDB's `quantile_disc`):
    always something that happened, and with few samples a high percentile is the maximum rather
    than something kinder. ValueError if there are no values.
    """
    if not values:
        raise ValueError("no values")
    # 0.95 * 20 is a little over 19 in binary: without the rounding the rank would be one too high.
    rank = max(1, math.ceil(round(share * len(values), 9)))
    return sorted(values)[rank - 1]


def share_interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share of which `hits` in `of` were seen (JASA 22, 1927)."""
    seen, spread = hits / of, _Z95**2 / of
    middle = (seen + spread / 2) / (1 + spread)
    half = math.sqrt(seen * (1 - seen) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def ratio_interval(
    parts: Sequence[int], wholes: Sequence[int], seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval for sum(parts) / sum(wholes), pairs drawn together.

    The drawing is seeded, so that judging a run again gives the same interval.
    """
    import numpy as np

    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, len(part), (resamples, len(part)))
    ratios = np.sort(part[drawn].sum(axis=1) / whole[drawn].sum(axis=1))
    low, high = int(0.025 * resamples), int(0.975 * resamples) - 1
    return float(ratios[low]), float(ratios[high])


def mean_interval(
    values: Sequence[float], seed: int = 0, resamples: int = 10_000, share: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap's interval for the mean (Efron, 1979); of one value, that value twice.

    The unit that is drawn is what `values` are of: of a claim about runs, give a value a run. The drawing
    is seeded. ValueError if there are no values.
    """
    import numpy as np

    if not values:
        raise ValueError("no values")
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, len(values), (resamples, len(values)))
    means = np.sort(np.asarray(values, dtype=np.float64)[drawn].mean(axis=1))
    tail = (1 - share) / 2
    return float(means[int(tail * resamples)]), float(means[int((1 - tail) * resamples) - 1])


@dataclass(frozen=True)
class Paired:
    """An arm of an experiment less another on the same seeds: the mean difference and its 95 % interval."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval excludes no difference; one pair says nothing."""
        return self.pairs > 1 and (self.low > 0 or self.high < 0)

    def within(self, margin: float) -> bool:
        """Whether the interval lies within +-`margin`.

        With a 90 % interval that is the two one-sided tests at 5 % (Schuirmann, 1987); with the 95 % one
        that this is, at 2.5 %: never kinder.
        """
        return -margin < self.low and self.high < margin


def paired(treated: Sequence[float], control: Sequence[float], seed: int = 0) -> Paired:
    """The bootstrap of the differences, pair by pair; ValueError if the arms have not as many values."""
    differences = [one - other for one, other in zip(treated, control, strict=True)]
    low, high = mean_interval(differences, seed)
    return Paired(sum(differences) / len(differences), low, high, len(differences))


def percent(share: float) -> str:
    """A share as people read it, to a hundredth of a percent: 0.00512 -> "0.51%"."""
    return f"{round(100 * share, 2):g}%"


def milliseconds(ns: int) -> str:
    """A duration as people read it, to a millisecond: 1234567890 -> "1.235s"."""
    return show_duration(round(ns, -6)) if ns >= 10**7 else show_duration(round(ns, -3))
