"""Steering's candidates for a client: who may serve it, in the policy's order, and why the others may not.

An OCA may serve a client if it learned a route to it by BGP, its last report is fresh, it is well, not
draining, not full, and holds the title. What keeps the best placed OCA from serving is a miss, in Open
Connect's words: a content miss if it lacks the title, a health miss if it is silent, unwell or full,
and other if it drains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Self

from testbed.steering import Candidate, Criterion, Policy, Query, Route, Site

CONTENT, HEALTH, OTHER = "content miss", "health miss", "other miss"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The latest that an OCA's agent said."""

    oca: str
    received_ns: int
    healthy: bool
    titles: frozenset[str]
    routes: tuple[Route, ...]
    connections: int = 0
    bps: float = 0.0  # sent since the report before
    address: str = ""  # where it is reached

    @classmethod
    def parse(cls, document: Mapping[str, Any], received_ns: int) -> Self:
        """Read the JSON of a report; ValueError says what it lacks."""
        try:
            load = document.get("load") or {}
            return cls(
                oca=str(document["oca"]),
                received_ns=received_ns,
                healthy=bool(document["healthy"]),
                titles=frozenset(document["titles"]),
                routes=tuple(
                    Route(ip_network(route["prefix"]), tuple(route["as_path"]), route.get("med") or 0)
                    for route in document["routes"]
                ),
                connections=int(load.get("connections", 0)),
                bps=float(load.get("bps", 0)),
                address=str(document.get("address", "")),
            )
        except KeyError as missing:
            raise ValueError(f"the report has no {missing}") from None
        except (TypeError, AttributeError) as wrong:
            raise ValueError(f"the report is not as expected: {wrong}") from None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a report no longer counts, and at which share of its capacity an OCA takes no more clients."""

    stale_ns: int
    shed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was decided about one OCA, and why."""

    oca: str
    rank: int | None = None  # from 1; None: it may not serve
    refusal: str = ""  # why it may not
    miss: str = ""  # what that is called where the OCA would have been the best
    route: Route | None = None
    criteria: tuple[Criterion, ...] = ()
    decided_by: str = ""  # the first criterion in which it is worse than the one before it
    age_ns: int = 0  # of its report

    @property
    def why(self) -> str:
        """In words."""
        if self.refusal:
            return self.refusal
        shown = (each for each in self.criteria if each.name != "hash" and math.isfinite(each.value))
        return ", ".join(f"{each.name} {each.shown}" for each in shown)

    def document(self) -> dict[str, Any]:
        """As JSON in steering's log."""
        shown = {criterion.name: criterion.shown for criterion in self.criteria}
        return {
            "oca": self.oca, "rank": self.rank, "refusal": self.refusal, "miss": self.miss,
            "decided_by": self.decided_by, "age_ns": self.age_ns, **(
                {} if self.route is None else {
                    "prefix": str(self.route.prefix), "as_path": " ".join(map(str, self.route.as_path)),
                    "med": self.route.med,
                }
            ),
            "criteria": shown,
        }  # fmt: skip


@dataclass(frozen=True)
class _Placed:
    """A candidate and its report, with what speaks against it."""

    report: Report
    candidate: Candidate
    criteria: tuple[Criterion, ...]
    refusal: str = ""
    miss: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """What it is sorted by."""
        return tuple(criterion.value for criterion in self.criteria)


def rank(
    reports: Iterable[Report],
    sites: Mapping[str, Site],
    policy: Policy,
    query: Query,
    limits: Limits,
    *,
    now_ns: int,
    draining: frozenset[str] = frozenset(),
) -> list[Choice]:
    """A choice for every OCA that reported: those that may serve the client first, best first."""
    placed: list[_Placed] = []
    refused: list[Choice] = []
    for report in sorted(reports, key=lambda report: report.oca):
        age_ns = now_ns - report.received_ns
        site = sites.get(report.oca)
        route = covering(report.routes, query.client)
        if site is None or route is None:
            refusal = "not one of ours" if site is None else f"no route to {query.client}"
            refused.append(Choice(oca=report.oca, refusal=refusal, age_ns=age_ns))
            continue
        candidate = Candidate(report.oca, site, route, max(_shares(report, site)))
        criteria = policy.criteria(candidate, query)
        refusal, miss = _refusal(report, site, query, limits, age_ns, draining)
        placed.append(_Placed(report, candidate, criteria, refusal, miss))
    placed.sort(key=lambda each: each.values)
    chosen: list[Choice] = []
    before: _Placed | None = None
    for each in placed:
        here = Choice(
            oca=each.candidate.oca, route=each.candidate.route, criteria=each.criteria,
            refusal=each.refusal, miss=each.miss, age_ns=now_ns - each.report.received_ns,
        )  # fmt: skip
        if each.refusal:
            refused.append(here)
            continue
        decided_by = "" if before is None else _first_worse(each.criteria, before.criteria)
        chosen.append(replace(here, rank=len(chosen) + 1, decided_by=decided_by))
        before = each
    return chosen + refused


def miss(choices: Iterable[Choice]) -> str:
    """The miss of a decision: why the OCA that is best placed does not serve; empty if it does."""
    placed = [choice for choice in choices if choice.criteria]
    best = min(placed, key=lambda choice: tuple(each.value for each in choice.criteria), default=None)
    return best.miss if best else ""


def covering(routes: Iterable[Route], address: IPv4Address | IPv6Address) -> Route | None:
    """The route by which an OCA would serve an address: longest match, then path, then MED."""
    return min(
        (route for route in routes if address in route.prefix),
        key=lambda route: (-route.prefix.prefixlen, len(route.as_path), route.med, route.as_path),
        default=None,
    )


def _first_worse(one: tuple[Criterion, ...], other: tuple[Criterion, ...]) -> str:
    return next((a.name for a, b in zip(one, other, strict=True) if a.value != b.value), "")


def _refusal(
    report: Report, site: Site, query: Query, limits: Limits, age_ns: int, draining: frozenset[str]
) -> tuple[str, str]:
    """Why an OCA may not serve, and what that is called; nothing if it may."""
    if age_ns >= limits.stale_ns:
        return f"last report is {age_ns / 1e9:g} s old", HEALTH
    if not report.healthy:
        return "unhealthy", HEALTH
    if report.oca in draining:
        return "draining", OTHER
    if query.title not in report.titles:
        return f"does not hold {query.title}", CONTENT
    connections, sent = _shares(report, site)
    if connections >= limits.shed:
        return f"full: {report.connections} of {site.connections} connections", HEALTH
    if sent >= limits.shed:
        return f"full: sends {sent:.0%} of {(site.capacity_bps or 0) / 1e6:g} Mbit/s", HEALTH
    return "", ""


def _shares(report: Report, site: Site) -> tuple[float, float]:
    """The shares of its connections and of its link that an OCA uses; 0 where nothing is known."""
    connections = report.connections / site.connections if site.connections else 0.0
    return connections, report.bps / site.capacity_bps if site.capacity_bps else 0.0
