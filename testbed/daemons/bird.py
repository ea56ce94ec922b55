"""BIRD 2 speaks BGP, OSPF and BFD in one process; written against 2.0.12, whose guide has every option."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from testbed.daemons import READY, Daemon, birdc
from testbed.job import Process
from testbed.routing import (
    ASIDE,
    CONNECTED,
    EVERYTHING,
    INSIDE,
    INVALID,
    LEARNED,
    NOTHING,
    ORIGINATED,
    Bfd,
    Cache,
    Change,
    Communities,
    Igp,
    Policy,
    Routing,
    Rule,
    Session,
)

_SCAN_S = 600  # interfaces and kernel routes are watched by netlink; the scan is only a safety net
_RETRY_S = 5
_MS, _S = 1_000_000, 1_000_000_000


class Bird(Daemon):
    """CZ.NIC's BIRD, as the exchanges and Open Connect run it."""

    kind = "bird"
    programs: ClassVar[dict[str, str]] = {"bird": "bird2"}
    configuration: ClassVar[tuple[str, ...]] = ("bird.conf",)
    cannot: ClassVar[dict[str, str]] = {"advertisement-interval": "BIRD sends what changed at once"}

    def files(self, routing: Routing) -> dict[str, str]:
        """The configuration."""
        return {f"{self.folder}/bird.conf": "\n".join(_configuration(routing)) + "\n"}

    def processes(self, routing: Routing) -> tuple[Process, ...]:
        """BIRD itself; its log goes to the process's."""
        recover = ("-R",) if _restarts(routing) else ()  # in whatever state the last one left it
        argv = ("bird", "-f", "-c", f"{self.folder}/bird.conf", "-s", self._socket, *recover)
        return (Process(name="bird", argv=argv, ready=f"{READY}:{__name__}:{type(self).__qualname__}"),)

    def check(self) -> Iterator[tuple[str, ...]]:
        """BIRD parses its configuration and says where it is wrong."""
        yield "bird", "-p", "-c", f"{self.folder}/bird.conf"

    def answers(self) -> bool:
        """Whether BIRD listens at its socket."""
        return birdc.answers(self._socket)

    def settled(self) -> bool:
        """Whether its sessions and OSPF's neighbours are up."""
        return birdc.established(self._socket)

    def become(self, routing: Routing) -> None:
        """Write the configuration anew, and have it read if BIRD runs: it does and sends what differs."""
        for path, text in self.files(routing).items():
            Path(path).write_text(text)
        if self.answers():
            birdc.ask(self._socket, "configure")

    @property
    def _socket(self) -> str:
        return f"{self.folder}/bird.ctl"


def _speaks(routing: Routing) -> bool:
    """Whether a node may have something to say of its own: no route server, an OCA if it is anycast."""
    return routing.forwards or bool(routing.originates)


def _restarts(routing: Routing) -> bool:
    """Whether a restart is to be graceful: what was learned stays in the kernel until it is learned again."""
    return any(each.graceful_restart and each.graceful_restart.restart for each in routing.sessions)


def _configuration(routing: Routing) -> Iterator[str]:
    yield f"# {routing.node}, {routing.role} of AS{routing.asn}"
    yield "log stderr all;"
    yield f"router id {routing.router_id};"
    yield f"protocol device {{ scan time {_SCAN_S}; }}"
    if routing.forwards:
        if routing.caches:
            yield from (f"roa{family} table roas{family};" for family in routing.families)
        yield f"protocol direct {{ {' '.join(f'ipv{family};' for family in routing.families)} }}"
        for family in routing.families:
            yield from _kernel(routing, family)
    if _speaks(routing):
        for family in routing.families:
            own = (each for each in routing.originates if (":" in each) == (family == 6))
            yield _static(f"originated{family}", family, own)
    for family in routing.families:
        # in one protocol, since BIRD exports only the best of several routes to a prefix
        more = {prefix: None for each in routing.sessions if each.family == family for prefix in each.more}
        if more:
            yield "# for some neighbours alone"
            yield _static(f"aside{family}", family, more)
    for cache in routing.caches:
        yield from _rpki(cache, routing)
    yield from _sources(routing)
    filters: _Filters = {}
    sessions = [line for session in routing.sessions for line in _session(routing, session, filters)]
    for (_, body), name in filters.items():
        yield f"filter {name} {{\n{body}}}"
    if routing.igp:
        for family in routing.families:
            yield from _ospf(routing, routing.igp, family)
    if any(session.bfd for session in routing.sessions) or (
        routing.igp and any(link.bfd for link in routing.igp.links)
    ):
        yield from _bfd(routing)
    yield from sessions


def _kernel(routing: Routing, family: int) -> Iterator[str]:
    aside = ' && ! (proto ~ "aside?")' if any(session.more for session in routing.sessions) else ""
    yield "protocol kernel {"
    yield f"  scan time {_SCAN_S};"
    if routing.multipath is not None and routing.multipath > 1:
        yield f"  merge paths yes limit {routing.multipath};"
    if _restarts(routing):
        yield "  persist yes;"
        yield "  graceful restart yes;"
    yield f"  ipv{family} {{ import none; export where source != RTS_DEVICE{aside}; }};"
    yield "}"


def _static(name: str, family: int, prefixes: Iterable[str]) -> str:
    routes = "".join(f"  route {prefix} blackhole;\n" for prefix in prefixes)
    return f"protocol static {name} {{\n  ipv{family};\n{routes}}}"


# Policies.

_FUNCTIONS = {ORIGINATED: "originated()", CONNECTED: "connected()", INSIDE: "inside()", LEARNED: "learned()"}


def _sources(routing: Routing) -> Iterator[str]:
    """A function for each source that a policy asks for."""
    asked = {
        source
        for session in routing.sessions
        for policy in (session.takes, session.sends)
        for rule in policy.rules
        for source in rule.sources
    }
    conditions = {
        ORIGINATED: 'proto ~ "originated?"',
        CONNECTED: _connected(routing),
        INSIDE: "source = RTS_BGP && bgp_path.len = 0",
        LEARNED: "source = RTS_BGP && bgp_path.len > 0",
    }
    for source, condition in conditions.items():
        if source in asked and (source != CONNECTED or routing.connects):
            yield f"function {_FUNCTIONS[source]} {{ return {condition}; }}"


def _connected(routing: Routing) -> str:
    each = []
    for family in routing.families:
        prefixes = ", ".join(prefix for prefix in routing.connects if (":" in prefix) == (family == 6))
        if prefixes:
            # in parentheses, since BIRD reads && and || from left to right, neither before the other
            each.append(
                f"(net.type = NET_IP{family} && source ~ [RTS_DEVICE, RTS_OSPF] && net ~ [{prefixes}])"
            )
    return " || ".join(each)


_Filters = dict[
    tuple[str, str], str
]  # the names of the filters so far, by whom they are for and what they say


def _channel(policy: Policy, routing: Routing, session: Session, name: str, filters: _Filters) -> str:
    """How a channel names a policy; filters of neighbours alike are one.

    Those of others never are, though they be equal: who is told anew would take the other's name along,
    and BIRD send that neighbour everything once more.
    """
    if policy == EVERYTHING:
        return "all"
    if policy.rules == NOTHING.rules:
        return "none"
    body = "".join(f"  {line}\n" for line in _filter(policy, routing, session))
    if (name, body) not in filters:
        taken = sum(other == name for other, _ in filters)
        filters[name, body] = f"{name}{taken + 1}" if taken else name
    return f"filter {filters[name, body]}"


def _filter(policy: Policy, routing: Routing, session: Session) -> Iterator[str]:
    """A policy as statements; BIRD rejects what reaches a filter's end, and we say so."""
    accept = (*_changes(policy.change, routing.asn), "accept;")
    for rule in policy.rules:
        condition = _condition(rule, routing, session)
        done = accept if rule.permit else ("reject;",)
        yield f"# {rule.why}"
        if not condition:
            yield from done
        elif len(done) == 1:
            yield f"if {condition} then {done[0]}"
        else:
            yield from (f"if {condition} then {{", *(f"  {statement}" for statement in done), "}")
    if not policy.rules[-1].permit or _condition(policy.rules[-1], routing, session):
        yield "reject;"


def _condition(rule: Rule, routing: Routing, session: Session) -> str:
    """What a route has to be for a rule to hold; empty if nothing."""
    parts = []
    if rule.sources:
        known = [source for source in rule.sources if source != CONNECTED or routing.connects]
        aside = {ASIDE: f'(proto ~ "aside?" && net ~ [{", ".join(session.more)}])'}
        parts.append(" || ".join((_FUNCTIONS | aside)[source] for source in known))
    if rule.communities:
        parts.append(
            " || ".join(
                f"{attribute} ~ [{', '.join(map(_written, matching))}]"
                for length, attribute in _ATTRIBUTES.items()
                if (matching := [each for each in rule.communities if len(each) == length])
            )
        )
    if rule.prefixes is not None:
        spans = ", ".join(f"{span.prefix}{{{span.least},{span.most}}}" for span in rule.prefixes)
        parts.append(f"net ~ [{spans}]" if spans else "false")
    if rule.validity:
        parts.append(f"roa_check(roas{session.family}) = {_VALIDITY[rule.validity]}")
    return " && ".join(f"({part})" if " || " in part and len(parts) > 1 else part for part in parts)


_VALIDITY = {INVALID: "ROA_INVALID"}
_ATTRIBUTES = {2: "bgp_community", 3: "bgp_large_community"}


def _written(community: Communities) -> str:
    return f"({', '.join('*' if number is None else str(number) for number in community)})"


def _changes(change: Change, asn: int) -> Iterator[str]:
    for length, attribute in _ATTRIBUTES.items():
        removed = ", ".join(_written(each) for each in change.remove if len(each) == length)
        if removed:
            yield f"{attribute}.delete([{removed}]);"
    if change.preference is not None:
        yield f"bgp_local_pref = {change.preference};"
    if change.med is not None:
        yield f"bgp_med = {change.med};"
    yield from [f"bgp_path.prepend({asn});"] * change.prepend
    for community in change.add:
        yield f"{_ATTRIBUTES[len(community)]}.add({_written(community)});"


# Protocols.


def _rpki(cache: Cache, routing: Routing) -> Iterator[str]:
    """A session with a cache, which tells all timers once it has been reached."""
    yield f"protocol rpki {cache.name.replace('-', '_')} {{"
    yield from (f"  roa{family} {{ table roas{family}; }};" for family in routing.families)
    yield f"  remote {cache.address} port {cache.port};"
    yield f"  retry {_RETRY_S};  # until the cache says its own: BGP may have to lead there first"
    yield "}"


def _ospf(routing: Routing, igp: Igp, family: int) -> Iterator[str]:
    """OSPF among the routers of the AS; everything else of ours is a stub."""
    yield f"protocol ospf v{2 if family == 4 else 3} ospf{family} {{"
    yield f"  ipv{family} {{ import all; export none; }};"
    if routing.multipath is not None:
        yield f"  ecmp {f'yes limit {routing.multipath}' if routing.multipath > 1 else 'no'};"
    yield "  area 0 {"
    timers = "".join(
        f" {name} {ns // _S};"
        for name, ns in (("hello", igp.hello_ns), ("dead", igp.dead_ns))
        if ns is not None
    )
    types = {
        "point-to-point": f"type ptp;{timers}",
        "broadcast": f"type broadcast;{timers}",
        "stub": "stub yes;",
    }
    for link in igp.links:
        if family in link.families:
            bfd = " bfd yes;" if link.bfd else ""
            yield f'    interface "{link.interface}" {{ {types[link.kind]} cost {link.cost};{bfd} }};'
    if family == 4:
        yield '    interface "lo" { stub yes; };'
    else:  # BIRD takes an interface into OSPFv3 by its link-local address, which lo has not
        yield from (f"    stubnet {address} {{ cost 0; }};" for address in igp.loopbacks if ":" in address)
    yield "  };"
    yield "}"


def _bfd(routing: Routing) -> Iterator[str]:
    """BFD for OSPF by its interface; a BGP session says its own."""
    yield "protocol bfd {"
    for link in routing.igp.links if routing.igp else ():
        if link.bfd:
            yield f'  interface "{link.interface}" {{ {_bfd_options(link.bfd)} }};'
    yield "}"


def _bfd_options(bfd: Bfd) -> str:
    return f"interval {bfd.interval_ns // _MS} ms; multiplier {bfd.multiplier};"


def _session(routing: Routing, session: Session, filters: _Filters) -> Iterator[str]:
    takes = _channel(session.takes, routing, session, f"from_{session.relation.replace('-', '_')}", filters)
    sends = _channel(session.sends, routing, session, f"to_{session.relation.replace('-', '_')}", filters)
    channel = [f"import {takes};", f"export {sends};"]
    if any(rule.validity for rule in session.takes.rules):
        channel.append("import table yes;")  # or nothing is judged anew when the ROAs change
    if session.next_hop_self:
        channel.append("next hop self ebgp;")
    if session.maximum:
        action = {"shutdown": "disable"}.get(session.maximum.action, session.maximum.action)
        channel.append(f"receive limit {session.maximum.prefixes} action {action};")
    yield f"protocol bgp {session.name} {{  # {session.neighbor} ({session.relation})"
    yield f"  local {session.local_address} as {routing.asn};"
    yield f"  neighbor {session.address} as {session.asn};"
    yield from (f"  {option}" for option in _options(routing, session))
    yield f"  ipv{session.family} {{ {' '.join(channel)} }};"
    yield "}"


def _options(routing: Routing, session: Session) -> Iterator[str]:
    if session.shut:
        yield "disabled yes;"
    if session.server_client:
        yield "rs client;"
    if session.reflector_client:
        yield "rr client;"
        yield f"rr cluster id {routing.cluster_id};"
    if session.ttl_security:
        yield "ttl security yes;"
    if session.bfd:
        yield f"bfd {{ {_bfd_options(session.bfd)} }};"
    timers = session.timers
    for name, ns in (
        ("hold time", timers.hold_ns), ("keepalive time", timers.keepalive_ns),
        ("connect retry time", timers.connect_retry_ns),
    ):  # fmt: skip
        if ns is not None:
            yield f"{name} {ns // _S};"
    if session.maximum and session.maximum.again_ns is not None:
        again = session.maximum.again_ns // _S
        yield f"error wait time {again}, {again};"  # for which BIRD waits after whatever it closed it for
    restart = session.graceful_restart
    if restart:
        yield f"graceful restart {'yes' if restart.restart else 'aware'};"
        if restart.time_ns is not None:
            yield f"graceful restart time {restart.time_ns // _S};"
        if restart.long_lived_ns is not None:
            yield f"long lived graceful restart {'yes' if restart.restart else 'aware'};"
            yield f"long lived stale time {restart.long_lived_ns // _S};"
