"""The control plane's memory: what the OCAs reported, which of them drain, and the answers that follow.

There is no clock and no network in it, so that a decision can be had again from what steering wrote down
(`testbed steer`). `ControlPlane(config)`, with

    zone            an OCA's URL is https://<oca>.<zone>/<title>/
    sites           {oca: Site as a dict}
    places          [[prefix, latitude, longitude]]: where clients are, by longest match; may be empty
    policy          {"source": "module:class" of the policy, "order": [criterion], "hash_by": [part]}
    origin          {"oca", "url", and if wanted "titles": [name]}: the last resort, always last; its URL gets
                    "<title>/" appended; without titles it has all that any OCA has. None: there is none
    mode            list; or dns: a client is told one name, and its resolver an address of it; or anycast: a
                    client is told one name, of the one address that all OCAs have
    urls            length of the list, the origin included
    ttl_s           how long a client may use the list
    stale_ns        an OCA whose last report is as old gets no clients
    shed            nor does one whose load is this share of its capacity or more
    fill            {"manifests": {cluster: [title]}, "masters": count, "wait_ns"}; None: nothing is filled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote

from testbed.registry import sourced
from testbed.services import ranking
from testbed.services.ranking import Choice, Limits, Report
from testbed.steering import Location, Policy, Query, Site

EDGE = "edge"  # the label below the zone whose names the DNS steers by
_TO_THE_ORIGIN = 2  # steps of the escalation


@dataclass(frozen=True)
class Decision:
    """What a client was answered, and why: a choice for each OCA that had reported."""

    status: HTTPStatus
    answer: dict[str, Any]
    choices: tuple[Choice, ...] = ()

    @property
    def miss(self) -> str:
        """Why the best placed OCA is not the first of the list; empty if it is."""
        return ranking.miss(self.choices)


class ControlPlane:
    """What the OCAs said since it started; whoever shares one between threads locks it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._sites = {oca: _site(site) for oca, site in config["sites"].items()}
        self._limits = Limits(stale_ns=config["stale_ns"], shed=config.get("shed", 1.0))
        wanted = config["policy"]
        self.policy: Policy = sourced(wanted["source"])(
            tuple(wanted.get("order", ())), tuple(wanted.get("hash_by", ("title", "client")))
        )
        places = [(ip_network(prefix), (lat, lon)) for prefix, lat, lon in config.get("places", ())]
        self._places = sorted(places, key=lambda place: -place[0].prefixlen)
        self.reports: dict[str, Report] = {}
        self.draining: set[str] = set()

    def report(self, document: Mapping[str, Any], now_ns: int) -> Report:
        """Take an OCA's report in place of its last; ValueError if it is not one."""
        parsed = Report.parse(document, now_ns)
        self._must_know(parsed.oca)
        self.reports[parsed.oca] = parsed
        return parsed

    def drain(self, oca: str, *, draining: bool) -> None:
        """Send an OCA no new clients, or send it some again; ValueError if there is none of that name."""
        self._must_know(oca)
        (self.draining.add if draining else self.draining.discard)(oca)

    def steer(self, title: str, client: str, now_ns: int) -> Decision:
        """The answer to a client that asks for a title."""
        reports = list(self.reports.values())
        origin = self._config["origin"]
        held = any(title in report.titles for report in reports)
        originally = origin is not None and (title in origin["titles"] if "titles" in origin else held)
        if not held and not originally:
            if not reports and (origin is None or "titles" not in origin):
                return Decision(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no OCA has reported yet"})
            return Decision(HTTPStatus.NOT_FOUND, {"error": f"no title {title}"})
        address = ip_address(client)
        choices = ranking.rank(
            reports, self._sites, self.policy, Query(title, address, self._location(address)), self._limits,
            now_ns=now_ns, draining=frozenset(self.draining),
        )  # fmt: skip
        name = quote(title)
        urls = [
            {"oca": choice.oca, "url": f"https://{choice.oca}.{self._config['zone']}/{name}/"}
            for choice in choices
            if choice.rank is not None
        ]
        decision = [f"{choice.oca}: {'no, ' if choice.refusal else ''}{choice.why}" for choice in choices]
        if originally:
            urls = urls[: max(0, self._config["urls"] - 1)]
            urls.append({"oca": origin["oca"], "url": f"{origin['url'].rstrip('/')}/{name}/"})
            decision.append(f"{origin['oca']}: the origin")
        answer = {
            "urls": urls[: self._config["urls"]], "ttl_s": self._config["ttl_s"], "decision": decision,
            "miss": ranking.miss(choices),
        }  # fmt: skip
        if not urls:
            answer["error"] = f"nobody can serve {title} to {client}"
        return Decision(HTTPStatus.OK, answer, tuple(choices))

    def answer(self, title: str, client: str, now_ns: int) -> Decision:
        """What a client is told over HTTPS: the list, or where something else steers, the one name."""
        decision = self.steer(title, client, now_ns)
        if self._config.get("mode", "list") == "list" or "urls" not in decision.answer:
            return decision
        name, origin = quote(title), self._config["origin"]
        host = f"{name}.{EDGE}" if self._config["mode"] == "dns" else EDGE
        urls = [{"oca": EDGE, "url": f"https://{host}.{self._config['zone']}/{name}/"}]
        urls += [url for url in decision.answer["urls"] if origin is not None and url["oca"] == origin["oca"]]
        told = {
            "urls": urls,
            "ttl_s": self._config["ttl_s"],
            "decision": [f"{self._config['mode']} decides"],
            "miss": "",
        }
        return Decision(HTTPStatus.OK, told)

    def manifest(self, oca: str) -> list[str]:
        """The titles that an OCA is to hold, the most popular first; ValueError if there is no such OCA."""
        self._must_know(oca)
        fill = self._config.get("fill") or {"manifests": {}}
        return list(fill["manifests"].get(self._sites[oca].cluster, ()))

    def sources(self, oca: str, title: str, waited_ns: int, now_ns: int) -> list[dict[str, str]]:
        """Where an OCA may fetch a title from, best first; ValueError if there is no such OCA.

        A peer is of its own cluster. Another OCA, a tier, is one that learned a route to it; these come in
        the policy's order. Fill masters, the first OCAs of each cluster by name, may ask a tier at once, and
        the origin after one wait; the others leave the cluster one wait later.
        """
        self._must_know(oca)
        report, fill = self.reports.get(oca), self._config.get("fill")
        if report is None or not fill:
            return []
        address = ip_address(report.address)
        choices = ranking.rank(
            [each for name, each in self.reports.items() if name != oca], self._sites, self.policy,
            Query(title, address, self._sites[oca].location), self._limits,
            now_ns=now_ns, draining=frozenset(self.draining),
        )  # fmt: skip
        cluster = self._sites[oca].cluster
        members = sorted(name for name, site in self._sites.items() if site.cluster == cluster)
        steps = waited_ns // fill["wait_ns"] + (oca in members[: fill["masters"]])
        name = quote(title)
        found = [
            {
                "oca": choice.oca, "url": f"https://{choice.oca}.{self._config['zone']}/{name}/",
                "kind": "peer" if self._sites[choice.oca].cluster == cluster else "tier",
            }
            for choice in choices
            if choice.rank is not None
        ]  # fmt: skip
        found = [each for each in found if each["kind"] == "peer"] + [
            each for each in found if each["kind"] == "tier" and steps >= 1
        ]
        if steps >= _TO_THE_ORIGIN:
            url = f"https://origin.{self._config['zone']}/{name}/"
            found.append({"oca": "origin", "url": url, "kind": "origin"})
        return found

    def _location(self, client: IPv4Address | IPv6Address) -> Location | None:
        return next((place for prefix, place in self._places if client in prefix), None)

    def _must_know(self, oca: str) -> None:
        if oca not in self._sites:
            raise ValueError(f"{oca} is not one of {', '.join(sorted(self._sites))}")


def _site(document: Mapping[str, Any]) -> Site:
    location = document.get("location")
    return Site(
        cluster=document.get("cluster", ""), embedded=document["embedded"],
        via={int(asn): kind for asn, kind in document.get("via", {}).items()},
        weight=document.get("weight", 1.0), location=tuple(location) if location else None,
        capacity_bps=document.get("capacity_bps"), connections=document.get("connections"),
    )  # fmt: skip
