"""How the CDN steers and fills, as one may write it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from testbed import registry
from testbed.model.fields import Model, SomeRate, SomeSize, SomeTime
from testbed.refusal import Wrong, quoted, suggestion
from testbed.units import Duration, Rate, Share


def _policy(name: str) -> str:
    kinds = registry.kinds("steering")
    if name not in kinds:
        raise Wrong(
            f"there is no steering policy {quoted(name)}", suggestion(name, kinds, "write open-connect")
        )
    return name


def _location(place: list[float]) -> list[float]:
    latitude, longitude = place
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise Wrong(
            f"{latitude:g}, {longitude:g} is nowhere on Earth",
            "write [latitude, longitude] in degrees, as [52.5, 13.4]",
        )
    return place


def _seconds(time: Duration) -> Duration:
    if time % 10**9:
        raise Wrong(f"{time.shown()} is no whole number of seconds", "write for example 20s")
    return time


def _order(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise Wrong(f"{name} is written twice", "write each once")
    return names


def _some(share: Share) -> Share:
    if not share:
        raise Wrong("0% would send no OCA any client", "write for example 90%")
    return share


Degrees = Annotated[float, Strict(False)]
Location = Annotated[list[Degrees], Field(min_length=2, max_length=2), AfterValidator(_location)]
Criterion = Literal["prefix", "site", "path", "med", "distance"]
Hashed = Literal["title", "client"]


TimeToLive = Annotated[SomeTime, AfterValidator(_seconds)]


class Window(Model):
    """When OCAs fill."""

    at: Duration = Field(examples=["2h"], description="since the scenario's start")
    lasts: SomeTime = Field(examples=["12h"])
    every: SomeTime | None = Field(default=None, examples=["24h"], description="once only if not given")


class Fill(Model):
    """How OCAs come to hold what their cluster's manifest names."""

    windows: list[Window] = Field(min_length=1, examples=["[{at: 0s, lasts: 60s}]"])
    rate: SomeRate = Field(
        default=Rate.parse("1.2gbit"), description="the most that an OCA fetches at: Open Connect's own limit"
    )
    manifests: dict[str, list[str]] = Field(
        default_factory=dict, examples=["{north.core: [film]}"],
        description="titles by cluster, the most popular first; a cluster that is not named here wants all",
    )  # fmt: skip
    popularity: list[str] = Field(
        default_factory=list, examples=["[film, clip]"],
        description="the order in which titles are wanted where no manifest says; theirs in this file else",
    )  # fmt: skip
    capacity: SomeSize | None = Field(
        default=None, examples=["100GB"],
        description="of a cluster: it wants the most popular titles that fit, one after the other",
    )  # fmt: skip
    masters: int = Field(
        default=1, ge=1, description="OCAs of each cluster that fetch from outside without waiting"
    )
    wait: SomeTime = Field(
        default=Duration.parse("30s"),
        description="between the steps of the escalation: peers of the cluster, other OCAs, the origin",
    )
    retry: SomeTime = Field(
        default=Duration.parse("2s"), description="between attempts where none is allowed"
    )


class Steering(Model):
    """How clients are steered to OCAs."""

    policy: Annotated[str, AfterValidator(_policy)] = Field(
        default="open-connect", examples=["open-connect"], description="`testbed kinds steering` lists them",
        json_schema_extra=lambda schema: schema.update(enum=list(registry.kinds("steering"))),
    )  # fmt: skip
    order: Annotated[list[Criterion], AfterValidator(_order)] = Field(
        default=["prefix", "site", "path", "med", "distance"], min_length=1,
        examples=["[site, prefix, path, med]"],
        description="what open-connect compares, the most important first: longest match, embedded before "
        "pni before exchange before transit, AS path length, MED (a missing one is 0), distance",
    )  # fmt: skip
    hash_by: Annotated[list[Hashed], AfterValidator(_order)] = Field(
        default=["title", "client"], min_length=1, max_length=2, examples=["[title]"],
        description="what chooses among equals, by weighted rendezvous hashing",
    )  # fmt: skip
    mode: Literal["list", "dns", "anycast"] = Field(
        default="list",
        description="list: a client is told names of OCAs, in order; dns: one name for all of them, "
        "<title>.edge.<zone>, whose address is that of the OCA which is best for the resolver that asks; "
        "anycast: one name, edge.<zone>, and one address (in 198.51.100.0/24 and 2001:db8:ca::/48) that "
        "every OCA announces to its router by BGP",
    )
    dns_ttl: TimeToLive = Field(default=Duration.parse("20s"), description="how long such an address is good")
    ttl: SomeTime = Field(default=Duration.parse("30s"), description="how long a client may use its list")
    shed: Annotated[Share, AfterValidator(_some)] = Field(
        default=Share.parse("90%"),
        description="an OCA that uses this share of its link or connections gets no new clients",
    )
    origin: bool = Field(default=True, description="every list ends with the origin")
