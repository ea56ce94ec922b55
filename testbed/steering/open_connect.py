"""Open Connect's order: longest match, site, AS path, MED, geography, and a hash among equals.

Longest match comes first, since a more specific prefix that is announced to the exchange alone takes
its clients away from the embedded OCA, as the partner documents warn. `order` changes that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from testbed.steering import SITES, Candidate, Criterion, Policy, Query, distance_km


def _prefix(candidate: Candidate, _: Query) -> Criterion:
    return Criterion("prefix", -candidate.route.prefix.prefixlen, str(candidate.route.prefix))


def _site(candidate: Candidate, _: Query) -> Criterion:
    kind = candidate.site.kind(candidate.route)
    return Criterion("site", SITES.index(kind), kind)


def _path(candidate: Candidate, _: Query) -> Criterion:
    path = candidate.route.as_path
    return Criterion("path", len(path), " ".join(map(str, path)) or "local")


def _med(candidate: Candidate, _: Query) -> Criterion:
    return Criterion("med", candidate.route.med, str(candidate.route.med))


def _distance(candidate: Candidate, query: Query) -> Criterion:
    km = distance_km(candidate.site.location, query.location)
    return Criterion("distance", km, "unknown" if math.isinf(km) else f"{km:.0f} km")


CRITERIA: dict[str, Callable[[Candidate, Query], Criterion]] = {
    "prefix": _prefix, "site": _site, "path": _path, "med": _med, "distance": _distance,
}  # fmt: skip


class OpenConnect(Policy):
    """Longest match, then site, shortest AS path, lowest MED, nearest, then the hash; `order` reorders."""

    kind = "open-connect"

    def criteria(self, candidate: Candidate, query: Query) -> tuple[Criterion, ...]:
        """In the order asked for; what is left out of it does not count."""
        order = self.order or tuple(CRITERIA)
        return (*(CRITERIA[name](candidate, query) for name in order), self.hashed(candidate, query))
