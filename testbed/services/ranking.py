"""Steering ranks the OCAs that may serve a client, from what the OCAs reported.

The order is Open Connect's as its partner documents give it: longest match, then the site (embedded
in the ISP before the exchange), shortest AS path, lowest MED (a missing one is 0, the best), and
rendezvous hashing among equals (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6(1),
1998): an OCA added to n equal ones takes 1/(n+1) of the titles and clients, and none move between
the others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Self

SITE_ORDER = {"embedded": 0, "exchange": 1}


@dataclass(frozen=True)
class Route:
    """A prefix that an OCA learned by BGP: it may serve the clients inside."""

    prefix: IPv4Network | IPv6Network
    as_path: tuple[int, ...]
    med: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """The latest that an OCA's agent said."""

    oca: str
    received_ns: int
    healthy: bool
    titles: frozenset[str]
    routes: tuple[Route, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any], received_ns: int) -> Self:
        """Read the JSON of a report; ValueError says what it lacks."""
        try:
            return cls(
                oca=str(document["oca"]),
                received_ns=received_ns,
                healthy=bool(document["healthy"]),
                titles=frozenset(document["titles"]),
                routes=tuple(
                    Route(ip_network(route["prefix"]), tuple(route["as_path"]), route.get("med") or 0)
                    for route in document["routes"]
                ),
            )
        except KeyError as missing:
            raise ValueError(f"the report has no {missing}") from None
        except (TypeError, AttributeError) as wrong:
            raise ValueError(f"the report is not as expected: {wrong}") from None


@dataclass(frozen=True)
class Site:
    """Where an OCA stands; `weight` is its share among equals."""

    kind: str  # embedded, exchange
    weight: float = 1.0


@dataclass(frozen=True)
class Choice:
    """What was decided about one OCA, and why."""

    oca: str
    chosen: bool
    why: str


def rank(
    reports: Iterable[Report],
    sites: Mapping[str, Site],
    *,
    client: str,
    title: str,
    now_ns: int,
    stale_ns: int,
) -> list[Choice]:
    """A choice for every OCA that reported: those that may serve the client first, best first."""
    address = ip_address(client)
    chosen: list[tuple[tuple[float, ...], Choice]] = []
    refused: list[Choice] = []
    for report in sorted(reports, key=lambda report: report.oca):
        site = sites.get(report.oca)
        route = _covering(report.routes, address)
        reason = _refusal(report, site, title, now_ns - report.received_ns, stale_ns)
        if site is None or route is None or reason:
            refused.append(Choice(report.oca, False, reason or f"no route to {client}"))
            continue
        key = (
            -route.prefix.prefixlen,
            SITE_ORDER[site.kind],
            len(route.as_path),
            route.med,
            -score(f"{title}|{client}", report.oca, site.weight),
        )
        path = " ".join(map(str, route.as_path)) or "local"
        why = f"{route.prefix} {site.kind} as-path {path} med {route.med}"
        chosen.append((key, Choice(report.oca, True, why)))
    return [choice for _, choice in sorted(chosen, key=lambda pair: pair[0])] + refused


def score(key: str, oca: str, weight: float = 1.0) -> float:
    """An OCA's score for a key in weighted rendezvous hashing; the highest wins."""
    digest = hashlib.blake2b(f"{key}|{oca}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64  # in (0, 1)
    return -weight / math.log(uniform) if uniform < 1.0 else math.inf


def _refusal(report: Report, site: Site | None, title: str, age_ns: int, stale_ns: int) -> str:
    if site is None:
        return "not one of ours"
    if age_ns >= stale_ns:
        return f"last report is {age_ns / 1e9:g} s old"
    if not report.healthy:
        return "unhealthy"
    if title not in report.titles:
        return f"does not hold {title}"
    return ""


def _covering(routes: Iterable[Route], address: IPv4Address | IPv6Address) -> Route | None:
    """The route by which an OCA would serve an address: longest match, then path, then MED."""
    covering = [route for route in routes if address in route.prefix]
    return min(
        covering,
        key=lambda route: (-route.prefix.prefixlen, len(route.as_path), route.med, route.as_path),
        default=None,
    )
