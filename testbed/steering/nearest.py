"""The nearest OCA on the globe first, whatever BGP says of preference; a hash among equals."""

from __future__ import annotations

from testbed.steering import Candidate, Criterion, Policy, Query
from testbed.steering.open_connect import CRITERIA


class Nearest(Policy):
    """Geography alone, as CDNs without routes of their clients steer."""

    kind = "nearest"

    def criteria(self, candidate: Candidate, query: Query) -> tuple[Criterion, ...]:
        """The distance, then the hash."""
        return CRITERIA["distance"](candidate, query), self.hashed(candidate, query)
