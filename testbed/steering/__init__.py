"""A steering policy says in which order the OCAs that may serve a client are told to it.

A policy is one file: a class with `kind` and `criteria`, found by the registry. Who may serve at all (a
route, a fresh report, health, room, the title on the box) is not a policy's business: see
`testbed.services.ranking`. The standard library only, for steering runs in the guest.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, NamedTuple

# How an OCA reaches a client, best first: Open Connect's own order, the slide of its partner talks.
SITES = ("embedded", "pni", "exchange", "transit")
EARTH_KM = 6371.0

Location = tuple[float, float]  # latitude, longitude, in degrees


@dataclass(frozen=True)
class Route:
    """A prefix that an OCA learned by BGP: it may serve the clients inside."""

    prefix: IPv4Network | IPv6Network
    as_path: tuple[int, ...]
    med: int = 0  # a missing one is 0, the best


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the CDN knows of an OCA's place, reports or none.

    `via` says of the AS that a route was heard from how the site is joined with it: pni, exchange or
    transit. One inside an ISP has none: all that it hears is embedded.
    """

    cluster: str = ""
    embedded: bool = True
    via: Mapping[int, str] = field(default_factory=dict)
    weight: float = 1.0  # its share among equals
    location: Location | None = None
    capacity_bps: int | None = None  # None: nothing is known, so it is never full
    connections: int | None = None  # the most that it takes

    def kind(self, route: Route) -> str:
        """How the OCA reaches a client by this route: embedded, pni, exchange or transit."""
        if self.embedded:
            return "embedded"
        return next((self.via[asn] for asn in route.as_path if asn in self.via), "transit")


@dataclass(frozen=True)
class Query:
    """What is asked: a title for a client, whose place may be known from its address."""

    title: str
    client: IPv4Address | IPv6Address
    location: Location | None = None


@dataclass(frozen=True)
class Candidate:
    """An OCA with a route to the client, that route, and how much of what it can carry it carried lately.

    `load` is the larger share of its link's rate and of its connections, 0 where neither is known.
    """

    oca: str
    site: Site
    route: Route
    load: float = 0.0


class Criterion(NamedTuple):
    """One thing that a policy compares; the lower `value` goes first, `shown` is for people."""

    name: str
    value: float
    shown: str


class Policy(ABC):
    """What all policies have; `order` is the order of the criteria that the topology asks for, if any."""

    kind: ClassVar[str] = ""

    def __init__(self, order: tuple[str, ...] = (), hash_by: tuple[str, ...] = ("title", "client")) -> None:
        self.order = order
        self.hash_by = hash_by

    @abstractmethod
    def criteria(self, candidate: Candidate, query: Query) -> tuple[Criterion, ...]:
        """What speaks for a candidate, the most important first; candidates are sorted by the values."""

    def key(self, query: Query) -> str:
        """What is hashed to choose among equals."""
        parts = {"title": query.title, "client": str(query.client)}
        return "|".join(parts[part] for part in self.hash_by)

    def hashed(self, candidate: Candidate, query: Query) -> Criterion:
        """The last criterion of every policy: among equals the highest score, so that none are left."""
        found = score(self.key(query), candidate.oca, candidate.site.weight)
        return Criterion("hash", -found, f"{found:.4g}")


def score(key: str, oca: str, weight: float = 1.0) -> float:
    """An OCA's score for a key in weighted rendezvous hashing; the highest wins.

    Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998: an OCA added to n equal ones
    takes 1/(n+1) of the keys, and none move between the others.
    """
    digest = hashlib.blake2b(f"{key}|{oca}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64  # in (0, 1)
    return -weight / math.log(uniform) if uniform < 1.0 else math.inf


def distance_km(a: Location | None, b: Location | None) -> float:
    """The great-circle distance; infinite where a place is not known."""
    if a is None or b is None:
        return math.inf
    (lat_a, lon_a), (lat_b, lon_b) = ((math.radians(angle) for angle in place) for place in (a, b))
    half = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
