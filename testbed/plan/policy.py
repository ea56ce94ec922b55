"""Who prefers and tells what: the rules of Gao and Rexford, by relation.

L. Gao and J. Rexford, "Stable Internet Routing Without Global Coordination", IEEE/ACM ToN 9(6),
2001: a customer's route is preferred to a peer's, a peer's to a provider's; customers are told
everything, peers and providers only of ourselves and our customers.
"""

from __future__ import annotations

# Local preference of what a neighbour of that relation to us announces.
PREFERENCE = {"customer": 300, "peer": 200, "provider": 100}

# The third part of the large community (our ASN, 1, tag) that marks where a route came from, so that
# every router of the AS can tell on the way out (RFC 8092).
TAG = {"customer": 1, "peer": 2, "provider": 3}
