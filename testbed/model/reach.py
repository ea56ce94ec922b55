"""Who is joined with whom: reached from neighbour to neighbour, or put together a link at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

_N = TypeVar("_N", bound=Hashable)


def closure(beside: Mapping[_N, Iterable[_N]], *starts: _N) -> set[_N]:
    """All that is reached from some, these among them, by going to whoever is `beside`."""
    reached, waiting = set(starts), list(starts)
    while waiting:
        new = [other for other in beside.get(waiting.pop(), ()) if other not in reached]
        reached.update(new)
        waiting += new
    return reached


class Groups:
    """Names in groups, each on its own to begin with; a group is known by the first of its names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._order = {name: place for place, name in enumerate(names)}
        self._above = {name: name for name in self._order}

    def first(self, name: str) -> str:
        """The first name of a name's group."""
        while self._above[name] != name:
            self._above[name] = name = self._above[self._above[name]]
        return name

    def join(self, a: str, b: str) -> bool:
        """Make one group of two names' groups; False if they were one before."""
        low, high = sorted((self.first(a), self.first(b)), key=self._order.__getitem__)
        self._above[high] = low
        return low != high
