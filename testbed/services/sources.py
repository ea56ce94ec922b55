"""A session's ranked list of OCAs says where to ask next, and when to ask steering again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """An OCA and the URL under which it has the title, with a slash at its end."""

    oca: str
    url: str


class Sources:
    """The list as steering ranked it; the first is in use, one that failed goes to the back.

    A session stays with an OCA as long as that works: a renewed list brings other fall-backs, not
    another OCA. When every entry has failed since the last success, the list is exhausted.
    """

    def __init__(self) -> None:
        self._ranked: list[Source] = []
        self._failed = 0  # in a row, so the last so many of the list
        self._works = False
        self._until_ns = 0

    def __len__(self) -> int:
        return len(self._ranked)

    @property
    def ranked(self) -> tuple[Source, ...]:
        """The list as it is now, the one in use first."""
        return tuple(self._ranked)

    def order(self, costs: Mapping[str, float]) -> None:
        """Take the cheapest first; those without a cost keep their order behind all others."""
        self._ranked.sort(key=lambda source: costs.get(source.oca, math.inf))

    def renew(self, ranked: Iterable[Source], until_ns: int) -> None:
        """Take a new list, good until `until_ns`; an OCA that works stays first."""
        new = list(ranked)
        if self._works and self._ranked:
            current = self._ranked[0]
            new = [current, *(source for source in new if source.oca != current.oca)]
        self._ranked, self._failed, self._until_ns = new, 0, until_ns

    def keep(self, until_ns: int) -> None:
        """Try every OCA of the old list again, for want of a new one, until `until_ns`."""
        self._failed, self._until_ns = 0, until_ns

    def current(self) -> Source | None:
        """Where to ask; None when the list is exhausted or there has been none."""
        return self._ranked[0] if self._failed < len(self._ranked) else None

    def expired(self, now_ns: int) -> bool:
        """Whether the list is older than its time to live."""
        return now_ns >= self._until_ns

    def worked(self) -> None:
        """The current OCA sent what was asked for."""
        self._failed, self._works = 0, True

    def failed(self) -> None:
        """The current OCA did not; the next one's turn."""
        self._ranked.append(self._ranked.pop(0))
        self._failed += 1
        self._works = False
