"""Who prefers and tells what: the rules of Gao and Rexford, by relation.

L. Gao and J. Rexford, "Stable Internet Routing Without Global Coordination", IEEE/ACM ToN 9(6),
2001: a customer's route is preferred to a peer's, a peer's to a provider's; customers are told
everything, peers and providers only of ourselves and our customers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from testbed.routing import (
    INSIDE,
    LEARNED,
    ORIGINATED,
    OWN,
    Change,
    Communities,
    Community,
    Policy,
    Rule,
    Span,
)

# Local preference of what a neighbour of that relation to us announces.
PREFERENCE = {"customer": 300, "peer": 200, "provider": 100}

# The third part of the large community (our ASN, 1, tag) that marks where a route came from, so that
# every router of the AS can tell on the way out (RFC 8092).
TAG = {"customer": 1, "peer": 2, "provider": 3}

WITHIN = Policy(rules=(Rule(why="all but what OSPF says already", sources=(ORIGINATED, INSIDE, LEARNED)),))
ONWARD = Policy(rules=(Rule(why="what the members announce", sources=(LEARNED,)),))


def marks(asn: int, relations: Iterable[str]) -> tuple[Community, ...]:
    """The large communities that an AS puts on what neighbours of these relations announce."""
    return tuple((asn, 1, TAG[relation]) for relation in relations)


def every_mark(asn: int) -> Communities:
    """All large communities that an AS keeps for itself."""
    return (asn, 1, None)


def takes(asn: int, relation: str) -> Policy:
    """What an AS takes from a neighbour that is a customer, a peer or a provider."""
    change = Change(remove=(every_mark(asn),), add=marks(asn, (relation,)), preference=PREFERENCE[relation])
    return Policy(rules=(Rule(why=f"what a {relation} announces"),), change=change)


def sends(asn: int, relations: Iterable[str]) -> Policy:
    """What an AS tells a neighbour: of itself, and what neighbours of these relations announced."""
    told = tuple(relations)
    heard = f"what {' and '.join(f'{each}s' for each in told)} announced"
    others = (Rule(why=heard, sources=(LEARNED,), communities=marks(asn, told)),) if told else ()
    return Policy(
        rules=(Rule(why=f"AS{asn}'s own", sources=OWN), *others),
        change=Change(remove=(every_mark(asn),)),
    )


def only(policy: Policy, prefixes: Iterable[IPv4Network | IPv6Network]) -> Policy:
    """A policy that lets through just these of what it did."""
    spans = tuple(
        Span(prefix=str(prefix), least=prefix.prefixlen, most=prefix.prefixlen) for prefix in prefixes
    )
    return replace(policy, rules=tuple(replace(rule, prefixes=spans) for rule in policy.rules))
