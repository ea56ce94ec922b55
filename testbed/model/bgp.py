"""What one may write about routing: how sessions are kept, what neighbours tell and take, and OSPF."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from testbed import registry
from testbed.model.fields import Model, SomeTime
from testbed.refusal import Wrong, quoted, suggestion
from testbed.routing import WELL_KNOWN, parse_community
from testbed.units import Duration

_S, _MS = 1_000_000_000, 1_000_000
_HOLD_LEAST_NS = 3 * _S  # RFC 4271, section 4.2
PREFIXES_MOST = 200  # of a list in the file


def _seconds(time: Duration) -> Duration:
    if time % _S:
        raise Wrong(f"{time.shown()} is no whole number of seconds", "write for example 3s")
    return time


def _milliseconds(time: Duration) -> Duration:
    if time % _MS:
        raise Wrong(f"{time.shown()} is no whole number of milliseconds", "write for example 300ms")
    return time


def _hold(time: Duration) -> Duration:
    if 0 < time < _HOLD_LEAST_NS:
        raise Wrong(f"{time.shown()} is no hold time (RFC 4271)", "write 3s or more, or 0s for none")
    return _seconds(time)


def _prefix(text: str) -> str:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise Wrong(f"{quoted(text)} is no prefix", "write for example 10.9.0.0/16") from None
    if "/" not in text:
        raise Wrong(f"{quoted(text)} has no length", f"write {found}")
    if ip_interface(text).ip != found.network_address:
        raise Wrong(f"{text} is an address inside of a prefix", f"write {found}")
    return str(found)


def _community(text: str) -> str:
    if not parse_community(text):
        what = f"{quoted(text)} is no community"
        raise Wrong(what, f"write for example '64500:7', '64500:1:7', or {', '.join(WELL_KNOWN)}")
    return text


def _daemon(kind: str) -> str:
    daemons = registry.kinds("daemons")
    if kind not in daemons:
        hint = suggestion(kind, daemons, "write bird")
        raise Wrong(f"there is no routing daemon {quoted(kind)}", hint)
    return kind


Seconds = Annotated[SomeTime, AfterValidator(_seconds)]
Milliseconds = Annotated[SomeTime, AfterValidator(_milliseconds)]
Interval = Annotated[Duration, AfterValidator(_seconds)]  # 0s is none
Hold = Annotated[Duration, AfterValidator(_hold)]
AnyPrefix = Annotated[str, AfterValidator(_prefix)]
CommunityText = Annotated[str, AfterValidator(_community)]
DaemonKind = Annotated[
    str,
    AfterValidator(_daemon),
    Field(json_schema_extra={"enum": [*registry.kinds("daemons")]}),
]
Prefixes = Annotated[list[AnyPrefix], Field(max_length=PREFIXES_MOST)]


class BfdSpec(Model):
    """Bidirectional forwarding detection (RFC 5880) beside the session, at both of its ends."""

    interval: Milliseconds = Field(default=Duration.parse("300ms"), description="between packets, both ways")
    multiplier: int = Field(default=3, ge=1, le=255, description="so many missing, and the neighbour is down")


class GracefulRestartSpec(Model):
    """A neighbour that restarts keeps its routes (RFC 4724)."""

    restart: bool = Field(default=True, description="ask for it; if not, only grant it to others")
    time: Seconds | None = Field(
        default=None,
        examples=["120s"],
        description="for how long a neighbour keeps our routes; BIRD and FRR 120s",
    )
    long_lived: Seconds | None = Field(
        default=None, examples=["1h"], description="for how long they are kept as stale after that (RFC 9494)"
    )


class MaxPrefixSpec(Model):
    """How many prefixes a neighbour may announce, counted before any filter."""

    prefixes: int = Field(ge=1, examples=[100])
    action: Literal["warn", "shutdown", "restart"] = Field(
        default="shutdown",
        description="log it; close the session; or close it and open it again after `again`",
    )
    again: Seconds | None = Field(default=None, examples=["60s"])

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.again is not None) != (self.action == "restart"):
            hint = "write both action: restart and again:, or neither"
            raise Wrong("again is when a session opens that action: restart closed", hint)
        return self


class BgpSpec(Model):
    """How BGP sessions are kept; what is not said is as the daemon has it."""

    hold: Hold | None = Field(
        default=None,
        examples=["90s"],
        description="without a message for so long, it is over; BIRD 240s, FRR 180s",
    )
    keepalive: Seconds | None = Field(
        default=None, examples=["30s"], description="between messages; a third of the hold time"
    )
    connect_retry: Seconds | None = Field(
        default=None, examples=["120s"], description="between attempts to connect; BIRD and FRR 120s"
    )
    advertisement_interval: Interval | None = Field(
        default=None,
        examples=["30s"],
        description="least time between updates of a route (RFC 4271, 9.2.1.1); none in BIRD, FRR 0s",
    )
    graceful_restart: GracefulRestartSpec | None = Field(
        default=None,
        examples=["{time: 120s}"],
        description="granted to neighbours, not asked for, by default",
    )
    bfd: BfdSpec | None = Field(default=None, examples=["{interval: 300ms, multiplier: 3}"])
    ttl_security: bool | None = Field(
        default=None,
        description="only packets that come from next door are taken, at both ends (GTSM, RFC 5082)",
    )
    max_prefix: MaxPrefixSpec | None = Field(default=None, examples=["{prefixes: 100}"])

    def over(self, below: BgpSpec | None) -> BgpSpec:
        """What this says, laid over what `below` says."""
        if below is None:
            return self
        laid: dict[str, Any] = {}
        for key in type(self).model_fields:
            own = getattr(self, key)
            laid[key] = getattr(below, key) if own is None else own
        return BgpSpec.model_construct(**laid)


class Announce(Model):
    """What a router tells a neighbour, of what its policy lets it tell."""

    prefixes: Literal["all"] | Prefixes = Field(
        default="all",
        examples=["[10.1.64.0/22]"],
        description="exactly these; one inside of its own AS's prefixes that nobody originates is "
        "originated for this neighbour alone, `[]` is none",
    )
    prepend: int = Field(
        default=0, ge=0, le=50, description="how often its AS number is put before the path again"
    )
    med: int | None = Field(default=None, ge=0, lt=2**32, examples=[100])
    communities: list[CommunityText] = Field(
        default_factory=list, max_length=32, examples=["['64500:7', '64500:1:7', no-export]"]
    )
    only_to: list[str] | None = Field(
        default=None,
        examples=["[south]"],
        description="networks that an exchange's route server passes it on to",
    )
    not_to: list[str] = Field(
        default_factory=list, examples=["[south]"], description="networks that it does not pass it on to"
    )


class Accept(Model):
    """What a router takes from a neighbour."""

    prefixes: Literal["any"] | Prefixes | None = Field(
        default=None,
        examples=["[10.1.0.0/16]"],
        description="these and what is inside of them; where nobody says, a customer may announce what it "
        "and its customers originate (down to /24 and /64), others anything",
    )
    preference: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        examples=[150],
        description="local preference; by the relation where nobody says",
    )


class OspfSpec(Model):
    """OSPF between the routers of a network."""

    hello: Seconds | None = Field(default=None, examples=["10s"], description="BIRD and FRR 10s")
    dead: Seconds | None = Field(
        default=None,
        examples=["40s"],
        description="without a hello for so long, it is over; BIRD and FRR 40s",
    )
    bfd: BfdSpec | None = Field(default=None, examples=["{interval: 300ms, multiplier: 3}"])


class Origin(Model):
    """A prefix that a network originates beside those that it is given."""

    prefix: AnyPrefix = Field(examples=["192.0.2.0/24"])
    at: list[str] | None = Field(
        default=None,
        min_length=1,
        examples=["[core]"],
        description="routers that originate it; the first where nobody says",
    )
    anycast: bool = Field(default=False, description="others may originate it, too, or what it is a part of")


class Bilateral(Model):
    """A session of two members of an exchange past its route server."""

    members: list[str] = Field(min_length=2, max_length=2, examples=["[north.core, south.core]"])
    relation: Literal["customer", "provider", "peer"] = Field(
        default="peer", description="what the first member's AS is to the second's"
    )
    bgp: BgpSpec | None = None
    announce: dict[str, Announce] = Field(default_factory=dict, description="by the member that announces")
    accept: dict[str, Accept] = Field(default_factory=dict, description="by the member that accepts")
