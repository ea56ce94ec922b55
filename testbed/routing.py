"""What a router is to do, without saying how: its sessions, policies and costs, as any daemon can be told.

`testbed.plan.routing` works it out from the topology, and a daemon (`testbed.daemons`) puts it into its own
words. Whatever is None is left to the daemon's own default. The standard library only: it is read in the
guest too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

# Where a route may come from, as its router sees it.
ORIGINATED = "originated"  # `Routing.originates`
CONNECTED = "connected"  # `Routing.connects`: a prefix of an interface, ours or by the IGP a brother's
INSIDE = "inside"  # by iBGP, with an empty AS path: a router of the same AS originates it
LEARNED = "learned"  # by BGP from another AS, here or by iBGP
ASIDE = "aside"  # `Session.more`, for that session; what is for others is nothing to it
OWN = (ORIGINATED, CONNECTED, INSIDE)

# Two numbers are a community (RFC 1997), three a large one (RFC 8092); None stands for any number.
Community = tuple[int, ...]
Communities = tuple[int | None, ...]

# Communities that have names (RFC 1997, RFC 7999, RFC 8326, RFC 9494).
WELL_KNOWN: dict[str, Community] = {
    "no-export": (65535, 65281), "no-advertise": (65535, 65282), "no-export-subconfed": (65535, 65283),
    "graceful-shutdown": (65535, 0), "llgr-stale": (65535, 6), "no-llgr": (65535, 7),
    "blackhole": (65535, 666),
}  # fmt: skip


def parse_community(text: str) -> Community:
    """The numbers of a community, two (RFC 1997) or three (RFC 8092); none if the text is not one."""
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    if not re.fullmatch(r"\d{1,10}(:\d{1,10}){1,2}", text):
        return ()
    numbers = tuple(map(int, text.split(":")))
    return numbers if all(each < 2 ** (16 if len(numbers) == 2 else 32) for each in numbers) else ()


@dataclass(frozen=True, kw_only=True)
class Span:
    """A prefix and what is inside of it, of lengths from `least` to `most`."""

    prefix: str
    least: int
    most: int

    @classmethod
    def exactly(cls, prefix: str) -> Self:
        """A prefix and nothing inside of it."""
        length = int(prefix.partition("/")[2])
        return cls(prefix=prefix, least=length, most=length)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of a route that a policy lets through: first `remove`, then the rest."""

    remove: tuple[Communities, ...] = ()  # all communities that match one of these
    add: tuple[Community, ...] = ()
    preference: int | None = None  # local preference
    med: int | None = None
    prepend: int = 0  # times that our AS is put before the path once more


# What the ROAs make of a route (RFC 6811, section 2).
INVALID = "invalid"  # some cover its prefix, and none of those lets its origin originate it


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Routes that are let through, or not; it holds for those that match all that is said, if anything."""

    why: str  # in words, for whoever reads the configuration
    permit: bool = True
    sources: tuple[str, ...] = ()  # any of these
    communities: tuple[Communities, ...] = ()  # carries one that matches any of these
    prefixes: tuple[Span, ...] | None = None  # is in any of these; () is in none
    validity: str = ""  # is that, as `Routing.caches` say


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The first rule that holds for a route decides; without one nothing passes (RFC 8212)."""

    rules: tuple[Rule, ...] = ()
    change: Change = Change()

    def only(self, spans: Iterable[Span]) -> Policy:
        """One that lets through just these of what this does."""
        prefixes = tuple(spans)
        return replace(self, rules=tuple(replace(rule, prefixes=prefixes) for rule in self.rules))

    def aside(self) -> Policy:
        """One that also lets through what is originated for this neighbour alone."""
        rule = Rule(why="originated for this neighbour alone", sources=(ASIDE,))
        return replace(self, rules=(rule, *self.rules))


NOTHING = Policy()
EVERYTHING = Policy(rules=(Rule(why="everything"),))


@dataclass(frozen=True, kw_only=True)
class Maximum:
    """How many prefixes a neighbour may announce, before any filter, and what happens at one more.

    warn: it is logged. shutdown: the session is closed, and stays so. restart: it is closed, and opened
    again after `again_ns`.
    """

    prefixes: int
    action: str = "shutdown"
    again_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Timers:
    """Of a BGP session (RFC 4271, section 10)."""

    hold_ns: int | None = None
    keepalive_ns: int | None = None
    connect_retry_ns: int | None = None
    advertisement_ns: int | None = None  # MinRouteAdvertisementInterval; 0 is none


@dataclass(frozen=True, kw_only=True)
class GracefulRestart:
    """RFC 4724, and RFC 9494 where routes may be stale for long.

    `restart` says that we ask neighbours to keep our routes while we restart; without it we only keep theirs.
    """

    restart: bool = True
    time_ns: int | None = None  # for which a neighbour keeps them
    long_lived_ns: int | None = None  # for which they are kept as stale after that; None: no long-lived GR


@dataclass(frozen=True, kw_only=True)
class Bfd:
    """RFC 5880: a packet each `interval_ns` both ways; with `multiplier` missing, the neighbour is down."""

    interval_ns: int
    multiplier: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """A BGP session with a neighbour for the routes of one family, over addresses of that family."""

    name: str  # letters, digits and underscores; no other of the router has it
    neighbor: str  # the node
    relation: str  # what it is to us: customer, provider, peer, internal, oca, server, route-server, member
    family: int  # 4 or 6
    asn: int  # the neighbour's
    address: str  # the neighbour's
    local_address: str
    interface: str = ""  # that the neighbour is on; empty where other routers may lie between (iBGP)
    takes: Policy = NOTHING
    sends: Policy = NOTHING
    more: tuple[str, ...] = ()  # prefixes that are originated for this neighbour alone, and not forwarded by
    maximum: Maximum | None = None
    timers: Timers = Timers()
    graceful_restart: GracefulRestart | None = None
    bfd: Bfd | None = None
    ttl_security: bool = False  # GTSM (RFC 5082), the neighbour being one hop away
    next_hop_self: bool = False  # on routes that were learned from another AS
    reflector_client: bool = False  # RFC 4456
    shut: bool = False  # its administrator keeps it down
    server_client: bool = False  # RFC 7947: path, next hop and MED are left as they are


@dataclass(frozen=True, kw_only=True)
class IgpLink:
    """An interface as OSPF takes it: point-to-point, broadcast, or a stub that nobody is spoken to on."""

    interface: str
    kind: str
    cost: int
    families: tuple[int, ...]
    bfd: Bfd | None = None


@dataclass(frozen=True, kw_only=True)
class Igp:
    """OSPFv2 and OSPFv3 with a single area among the routers of the AS."""

    links: tuple[IgpLink, ...] = ()
    loopbacks: tuple[str, ...] = ()  # addresses of either family on lo, with their lengths
    hello_ns: int | None = None
    dead_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cache:
    """An RPKI cache that is asked by RTR over plain TCP (RFC 8210), and says itself for how long."""

    name: str  # the node
    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Routing:
    """All that a node's routing daemon is to do."""

    node: str
    role: str
    asn: int
    router_id: str
    families: tuple[int, ...]  # 4, 6
    daemon: str = "bird"  # its kind
    forwards: bool = True  # what it learns goes into the kernel's table
    multipath: int | None = None  # so many equally good ways are used at once (ECMP), by OSPF and by BGP
    originates: tuple[str, ...] = ()  # prefixes; packets to what is not known more exactly are dropped
    connects: tuple[str, ...] = ()  # prefixes that are announced while an interface or the IGP knows them
    igp: Igp | None = None
    cluster_id: str = ""  # of a route reflector
    sessions: tuple[Session, ...] = ()
    caches: tuple[Cache, ...] = ()  # all of what they say holds

    def session(self, name: str) -> Session:
        """The session of that name; KeyError if there is none."""
        for session in self.sessions:
            if session.name == name:
                return session
        raise KeyError(name)
