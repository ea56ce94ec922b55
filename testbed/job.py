"""A job is everything one run needs, as data: it crosses the venue seam as `job.json`.

Both sides of the seam read this module, so it imports the standard library only. Every quantity
carries its unit in its name: times in nanoseconds, rates in bits per second, sizes in bytes,
shares from 0 to 1.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.routing import Routing

FORMAT = 1

# Where things lie on the side that holds the emulated kernel.
OUT = "/run/testbed/out"  # the run folder
NODES = "/run/testbed/nodes"  # a folder for each node's configuration, sockets and spool
EXPIRED = "expired.pem"  # in the folder of an OCA whose certificate a fault lets run out
SECRETS = "secrets.keylog"  # in the run folder: the TLS secrets of clients (SSLKEYLOGFILE)
LIBRARY = "/run/testbed/library"  # Python packages: ours, and those of others
CONTENT = "/run/testbed/content"  # the titles, as every OCA and the origin hold them
HERE = "/run/testbed/here"  # the folder that a shell was started in


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How packets are lost, as tc-netem(8) names it; every parameter is a probability from 0 to 1.

    random: (p,) each packet on its own. gilbert-elliott: (p, r, b, g), p from good to bad, r back, b the
    loss while bad, g the loss while good (tc writes 1-h and 1-k). 4-state: (p13, p31, p32, p23, p14).
    """

    model: str = "random"
    parameters: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a link can carry over time; it repeats after `period_ns`.

    Without `rates_bps`, each of `times_ns` is an opportunity to send 1,500 bytes (of IP: the Ethernet
    header does not count), which is lost if nothing waits (Mahimahi: Netravali et al., USENIX ATC 2015).
    With them, the rate is `rates_bps[i]` from `times_ns[i]` on.
    """

    period_ns: int
    times_ns: tuple[int, ...]
    rates_bps: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One direction of a link: what a packet meets after the sender's interface.

    First the path: a packet waits `delay_ns`, jittered, and may be lost, duplicated, corrupted or let
    overtake those before it. Then the line: it is queued by `aqm` behind at most `queue_packets` or
    `queue_bytes` of others (one of the two is None) and serialised at `rate_bps`, or as a trace has it.
    The packet that is being serialised counts as one of the queue. Lengths count from the Ethernet
    header, as netem does.
    """

    rate_bps: int | None = None
    trace: str | None = None  # of the job's traces, instead of a rate
    delay_ns: int = 0
    jitter_ns: int = 0  # uniform: the most it varies either way; else the standard deviation
    jitter_distribution: str = "uniform"  # or normal, pareto, paretonormal
    jitter_correlation: float = 0.0
    loss: Loss | None = None
    duplicate: float = 0.0
    reorder: float = 0.0  # this share is not delayed at all
    corrupt: float = 0.0  # one bit of these is flipped
    queue_packets: int | None = 1000
    queue_bytes: int | None = None
    aqm: str = "fifo"  # or fq_codel, cake, pie, red, codel
    aqm_options: dict[str, int | float] = field(default_factory=dict)  # by the names of the AQM's tc page
    ecn: bool = False  # the AQM marks what can be marked, and drops what cannot


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One end of a link, inside a node."""

    name: str
    link: str
    mac: str
    address: str = ""  # "10.1.0.0/31"; empty on a port of a switch, or without IPv4
    address6: str = ""  # "2001:db8:1::/127"; empty on a port of a switch, or without IPv6
    peer: str = ""  # the node at the other end
    peer_address: str = ""  # its IPv4 address without length, where it has one
    peer_address6: str = ""
    mtu: int = 1500
    vlan: int = 0  # of a switch's port: frames enter and leave it untagged and belong to this VLAN
    shape: Shape = field(default_factory=Shape)  # what leaves here


@dataclass(frozen=True, kw_only=True)
class Link:
    """Two interfaces and the wire between them; `a` is the endpoint named first in the YAML.

    Both directions are captured at `captured_at` ("a" or "b"): the wire itself takes no time, so a
    frame passes both ends in the same instant.
    """

    name: str  # "north.core--transit.a"
    a: str
    a_interface: str
    b: str
    b_interface: str
    a_to_b: Shape
    b_to_a: Shape
    relation: str = ""  # what a is to b: customer, provider, peer; empty inside an AS and to hosts
    captured_at: str = "a"


@dataclass(frozen=True, kw_only=True)
class Process:
    """Something that runs on a node: a program (`argv`) or a service of ours (`service`).

    `service` is "module:function"; the function is called with `config` in a child of its own
    inside the node's network namespace. `ready` says how to tell that it is up: "tcp:PORT" or
    "udp:PORT" (bound in the node), "daemon:MODULE:CLASS" (that daemon answers, every BGP session is
    established and every OSPF neighbour found), "file:PATH" (the process made it), or nothing. One that
    `needs_routes` is started when routing has settled. One that `reads_counter`, the processor's time
    stamp counter, is shown the virtual clock in its place. Output goes to `logs/<node>/<name>.log`.
    """

    name: str
    argv: tuple[str, ...] = ()
    service: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    ready: str = ""
    needs_routes: bool = False
    reads_counter: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route the plan sets by hand; everything else is learned by the routing daemons."""

    prefix: str
    via: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """A network namespace with its interfaces, files and processes."""

    name: str  # "north.core", "north.homes.3", "oca-n1"
    role: str  # router, exchange, route-server, oca, origin, resolver, authority, steering, client, host...
    asn: int = 0
    isp: str = ""  # the ISP it belongs to; empty for the CDN's own
    address: str = ""  # the address others know it by, without length
    address6: str = ""
    bridge: bool = False  # its interfaces are ports of one learning bridge
    stp: bool = False  # the bridge speaks 802.1D, since its LAN has loops
    forwards: bool = False
    interfaces: tuple[Interface, ...] = ()
    loopbacks: tuple[str, ...] = ()  # further addresses of either family, on lo
    routes: tuple[Route, ...] = ()
    titles: tuple[str, ...] = ()  # on its disk when the run starts
    sysctls: dict[str, str] = field(default_factory=dict)  # below net.ipv4, of its namespace
    files: dict[str, str] = field(default_factory=dict)  # absolute path in the guest -> text
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Media:
    """A title's real video: the folder of its files on the machine that runs it, and its DASH manifest."""

    folder: str
    manifest: str


@dataclass(frozen=True, kw_only=True)
class Title:
    """A video: `segment_bytes[segment][rung]`, `bitrates_kbps` rising; without `media` it has no content."""

    name: str
    segment_ns: int
    bitrates_kbps: tuple[int, ...]
    segment_bytes: tuple[tuple[int, ...], ...]
    media: Media | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """One viewer's playback, fixed before the run starts."""

    id: str  # "s0001"
    client: str
    title: str
    abr: str  # the kind of its algorithm
    start_ns: int
    buffer_ns: int  # the player stops fetching at this much video
    startup_ns: int  # playback starts at this much
    timeout_ns: int  # a request with no byte for so long has failed
    resolver: str  # address of the resolver that the client's ISP gives it
    ca: str  # path, in the guest, of the certificate authority that the client trusts
    resume_ns: int = 0  # playback goes on after a stall at this much; 0: as at the start
    give_up_ns: int = 30_000_000_000  # a viewer who has waited so long while nothing worked leaves
    slow_ns: int = 0  # a segment that is not whole after so long is asked of the next OCA; 0: never
    device: str = ""  # its name in the population's mix; empty: none
    max_kbps: int = 0  # the device shows no higher bitrate; 0: any
    probe: bool = False  # the OCAs of the list are asked for a little first, and the quickest is taken
    http: str = "1.1"  # or 2, where the server offers it
    tls: str = "1.3"  # or 1.2: the newest that the client speaks
    pace: tuple[float, ...] = ()  # multiples of the top bitrate asked for with an empty and a full buffer
    families: tuple[int, ...] = (4,)  # 4 and 6, as the client has addresses
    live_latency_ns: int | None = None  # the title is live, and played so long after it came into being
    leave_ns: int | None = None  # the viewer leaves so long after the session's start
    pauses: tuple[tuple[int, int], ...] = ()  # (after the start, for), ns
    seeks: tuple[tuple[int, int], ...] = ()  # (after the start, to this position), ns
    abr_source: str = ""  # "module:class" of the algorithm; empty: ours of that kind
    abr_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Background traffic between a server and some clients; `parameters` as those of a fault."""

    kind: str
    source: str  # "module:class" of its kind
    clients: tuple[str, ...]
    server: str
    address: str  # of the server
    at_ns: int
    ends_ns: int
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault as the scenario asks for it; `parameters` are those of its kind, units resolved."""

    id: int  # 1-based, in the order of the file
    kind: str
    at_ns: int
    lasts_ns: int
    target: str  # what it strikes, in words of the topology
    source: str  # "module:class" of its kind
    parameters: dict[str, Any] = field(default_factory=dict)


PROBED_PORT = 9  # probes go to it, and from it: discard (RFC 863)
PROBES_APART = 256  # so many probes of a flow have lengths of their own

# What is captured whatever else is, wherever BGP may be spoken; the filter of windows with nothing else.
ALWAYS = f"tcp port 179 or udp dst port {PROBED_PORT}"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A flow of small UDP packets from a node to an address in a prefix, one way."""

    node: str
    source: str  # its address
    prefix: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Window:
    """When packets of a link are captured, and which, where it is not all headers all the time.

    Times are nanoseconds since the scenario's start: None is from when there is a network, or until its
    end. `filter` says in the language of pcap-filter(7) which packets (all, if empty), `program` that
    and how much of each: struct sock_filter in hexadecimal; empty, testbed.bpf's of headers.
    """

    from_ns: int | None = None
    until_ns: int | None = None
    filter: str = ""
    program: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: the resolved network, who plays what, what breaks, and what must hold."""

    scenario: str
    topology: str
    seed: int
    clock: str  # virtual, wall
    duration_ns: int
    epoch_ns: int  # Unix time at which the guest's virtual clock starts
    zone: str  # of the CDN in the DNS
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    traces: dict[str, Trace] = field(default_factory=dict)
    titles: tuple[Title, ...] = ()
    sessions: tuple[Session, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    faults: tuple[Fault, ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    captures: tuple[str, ...] = ()  # names of the links captured
    windows: dict[str, tuple[Window, ...]] = field(default_factory=dict)  # by link, rising; none: all of it
    probes: tuple[Probe, ...] = ()
    probe_every_ns: int = 0
    routing: dict[str, Routing] = field(default_factory=dict)  # of the routers that a fault tells anew
    sample_ns: int = 1_000_000_000  # how often the queues' counters are read
    settle_ns: int = 5_000_000_000  # routes must stand still for so long before the scenario starts
    sources: dict[str, str] = field(default_factory=dict)  # the YAML as it was read, by file name
    memory_bytes: int = 0  # of the guest; 0: the venue's own default
    format: int = FORMAT

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def link(self, name: str) -> Link:
        """The link of that name, its endpoints in either order; KeyError if there is none."""
        flipped = "--".join(reversed(name.split("--")))
        for link in self.links:
            if link.name in (name, flipped):
                return link
        raise KeyError(name)

    def dumps(self) -> str:
        """The job as JSON, byte for byte the same for equal jobs."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def loads(cls, text: str) -> Job:
        """The job that `dumps` wrote; ValueError for another format."""
        data = json.loads(text)
        if data.get("format") != FORMAT:
            raise ValueError(f"job.json has format {data.get('format')}, this version reads {FORMAT}")
        return typing.cast("Job", revive(cls, data))

    @classmethod
    def read(cls, run: Path) -> Job:
        """The job of a run folder."""
        return cls.loads((run / "job.json").read_text())


def revive(kind: Any, value: Any) -> Any:
    """Build `kind`, a dataclass or a container of them, from what JSON made of it."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: revive(hints[name], item) for name, item in value.items()})
    origin = typing.get_origin(kind)
    if origin is tuple:
        return tuple(revive(typing.get_args(kind)[0], item) for item in value)
    if origin in (dict, Mapping):
        return {name: revive(typing.get_args(kind)[1], item) for name, item in value.items()}
    if origin in (typing.Union, types.UnionType) and value is not None:
        present = [option for option in typing.get_args(kind) if option is not type(None)]
        return revive(present[0], value)
    return value
