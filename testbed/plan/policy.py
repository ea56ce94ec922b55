"""Who prefers and tells what: the rules of Gao and Rexford, by relation, and what is said by hand.

L. Gao and J. Rexford, "Stable Internet Routing Without Global Coordination", IEEE/ACM ToN 9(6),
2001: a customer's route is preferred to a peer's, a peer's to a provider's; customers are told
everything, peers and providers only of ourselves and our customers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from testbed.routing import (
    INSIDE,
    INVALID,
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

Net = IPv4Network | IPv6Network

# Local preference of what a neighbour of that relation to us announces.
PREFERENCE = {"customer": 300, "peer": 200, "provider": 100}

# The third part of the large community (our ASN, 1, tag) that marks where a route came from, so that
# every router of the AS can tell on the way out (RFC 8092).
TAG = {"customer": 1, "peer": 2, "provider": 3}

# The longest prefix of a customer that is taken, unless it has a longer one: as most networks do in IPv4;
# in IPv6 they stop at /48, which is all that a network has here.
_LONGEST = {4: 24, 6: 64}
_STANDARD_MOST = 2**16  # RFC 1997 has room for AS numbers below

WITHIN = Policy(rules=(Rule(why="all but what OSPF says already", sources=(ORIGINATED, INSIDE, LEARNED)),))


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


def validated(policy: Policy) -> Policy:
    """A policy that nothing invalid passes (RFC 7115, section 5)."""
    rule = Rule(why="invalid by the ROAs (RFC 6811)", permit=False, validity=INVALID)
    return replace(policy, rules=(rule, *policy.rules))


def exactly(prefixes: Iterable[Net]) -> tuple[Span, ...]:
    """These prefixes and nothing inside of them."""
    return tuple(Span.exactly(str(each)) for each in prefixes)


def registered(prefixes: Iterable[Net]) -> tuple[Span, ...]:
    """These prefixes, and of what is inside of them as much as networks take from one another."""
    return tuple(
        Span(prefix=str(each), least=each.prefixlen, most=max(each.prefixlen, _LONGEST[each.version]))
        for each in prefixes
    )


def inside(prefixes: Iterable[Net]) -> tuple[Span, ...]:
    """These prefixes and all that is inside of them."""
    return tuple(Span(prefix=str(each), least=each.prefixlen, most=each.max_prefixlen) for each in prefixes)


def passed_on(server: int, member: int) -> Policy:
    """What an exchange's route server tells a member, as those who announced it want.

    By standard communities where both AS numbers fit, and by large ones, as the exchanges of Euro-IX have
    them in common: (0, member) and (server, 0, member) not to that member, (server, member) and
    (server, 1, member) to it after all, (0, server) and (server, 0, 0) to nobody else. All of them are
    taken off (RFC 7948, section 4.7).
    """
    small = server < _STANDARD_MOST
    never: list[Communities] = [(server, 0, member)]
    always: list[Communities] = [(server, 1, member)]
    nobody: list[Communities] = [(server, 0, 0)]
    remove: list[Communities] = [(server, 0, None), (server, 1, None)]
    if member < _STANDARD_MOST:
        never.append((0, member))
    if small:
        nobody.append((0, server))
        remove += [(0, None), (server, None)]
        if member < _STANDARD_MOST:
            always.append((server, member))
    return Policy(
        rules=(
            Rule(why=f"not to AS{member}", permit=False, communities=tuple(never)),
            Rule(why=f"to AS{member} after all", sources=(LEARNED,), communities=tuple(always)),
            Rule(why="to nobody else", permit=False, communities=tuple(nobody)),
            Rule(why="what the members announce", sources=(LEARNED,)),
        ),
        change=Change(remove=tuple(remove)),
    )


def steered(server: int, only_to: Iterable[int] | None, not_to: Iterable[int]) -> tuple[Community, ...]:
    """What a member puts on a route so that a route server passes it on to these, and not to those."""
    found: list[Community] = [(server, 0, asn) for asn in not_to]
    if only_to is not None:
        found += [(server, 0, 0), *((server, 1, asn) for asn in only_to)]
    return tuple(found)


def nets(prefixes: Iterable[str], family: int) -> tuple[Net, ...]:
    """Those of a family among prefixes as they are written."""
    return tuple(each for each in map(ip_network, prefixes) if each.version == family)
