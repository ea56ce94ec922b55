"""Every OCA that may serve a client is as good as another; a hash shares the clients out."""

from __future__ import annotations

from testbed.steering import Candidate, Criterion, Policy, Query


class Spread(Policy):
    """Weighted rendezvous hashing alone: a baseline that knows nothing of the network."""

    kind = "spread"

    def criteria(self, candidate: Candidate, query: Query) -> tuple[Criterion, ...]:
        """The hash."""
        return (self.hashed(candidate, query),)
