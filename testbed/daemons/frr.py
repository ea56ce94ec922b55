"""FRR speaks BGP, OSPF and BFD in a process each, around zebra, which has the kernel's routes.

Written against FRR 8.4.4, whose user guide has every command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from testbed.daemons import READY, Daemon, Limit, frr_lines, frr_policy, vty
from testbed.job import Process
from testbed.routing import ASIDE, CONNECTED, ORIGINATED, Bfd, Igp, Routing, Session

_LIBEXEC = "/usr/lib/frr"
_S, _MS = 1_000_000_000, 1_000_000
_MIN = 60 * _S
_RETRY_S = 10  # inside an AS the first attempt is made before OSPF knows the way
_BELOW_OSPF = 200  # distance: as BIRD's preferences have it, whatever the IGP knows is not asked of BGP

# Who runs, in the order in which they start: everybody asks zebra.
_ORDER = ("zebra", "staticd", "bfdd", "ospfd", "ospf6d", "bgpd")

Lines = Iterator[str]


class Frr(Daemon):
    """FRRouting, as it runs on many hosts, white boxes and route servers."""

    kind = "frr"
    programs: ClassVar[dict[str, str]] = {
        "vtysh": "frr", **{f"{_LIBEXEC}/{name}": "frr" for name in _ORDER},
    }  # fmt: skip
    configuration: ClassVar[tuple[str, ...]] = tuple(f"{name}.conf" for name in _ORDER)
    cannot: ClassVar[dict[str, str]] = {"rov": "its bgpd is started without the module that validates"}
    limits: ClassVar[dict[tuple[str, ...], Limit]] = {
        ("advertisement-interval",): Limit(least=0, most=600 * _S),
        ("max-prefix", "again"): Limit(least=_MIN, most=65535 * _MIN, step=_MIN),
        ("bfd", "interval"): Limit(least=10 * _MS, most=60 * _S),
        ("bfd", "multiplier"): Limit(least=2, most=255),
    }

    def files(self, routing: Routing) -> dict[str, str]:
        """A configuration for each process."""
        made = {
            "zebra": _zebra(routing),
            "staticd": _staticd(routing),
            "bfdd": _bfdd(routing),
            "ospfd": _ospfd(routing),
            "ospf6d": _ospf6d(routing),
            "bgpd": _bgpd(routing),
        }
        texts = {name: "\n".join(lines) for name, lines in made.items()}
        head = f"! {routing.node}, {routing.role} of AS{routing.asn}\nfrr defaults traditional\n"
        named = f"{head}hostname {routing.node}\n"
        return {self._file(name): f"{named}{text}\n" for name, text in texts.items() if text}

    def processes(self, routing: Routing) -> tuple[Process, ...]:
        """Those that have something to do; the log of each goes to its process's."""
        running = [name for name in _ORDER if self._file(name) in self.files(routing)]
        return tuple(
            Process(
                name=name, argv=self._argv(name, routing),
                ready=f"{READY}:{__name__}:{type(self).__qualname__}" if name == running[-1] else "",
            )
            for name in running
        )  # fmt: skip

    def _argv(self, name: str, routing: Routing) -> tuple[str, ...]:
        more: tuple[str, ...] = ()
        if name == "bgpd" and not routing.forwards:
            more = ("--no_kernel",)
        return (
            f"{_LIBEXEC}/{name}", "-u", "root", "-g", "root", "-f", self._file(name), "-z",
            f"{self.folder}/zserv.api", "--vty_socket", self.folder, "-i", f"{self.folder}/{name}.pid",
            "-P", "0", "--log", "stdout", *more,
        )  # fmt: skip

    def check(self) -> Iterator[tuple[str, ...]]:
        """FRR's shell knows the commands of all of them, and needs none to run nor any rights."""
        for name in self._present():
            yield "vtysh", "--config_dir", self.folder, "-C", "-f", self._file(name)

    def complaint(self, output: str) -> str:
        """The first line that it did not know; before, it misses a file of its own."""
        return next((line for line in output.splitlines() if line.startswith("line ")), output.strip())

    def answers(self) -> bool:
        """Whether all of them listen at their sockets."""
        return all(vty.answers(self._socket(name)) for name in self._present())

    def settled(self) -> bool:
        """Whether its sessions and OSPF's neighbours are up."""
        if not self.answers():
            return False
        present = self._present()
        try:
            return (
                ("ospfd" not in present or _linked(self._socket("ospfd")))
                and ("ospf6d" not in present or _linked6(self._socket("ospf6d"), self._passive()))
                and ("bgpd" not in present or _established(self._socket("bgpd")))
            )
        except (OSError, vty.FrrError):
            return False

    def become(self, routing: Routing) -> None:
        """Write what differs, and have it typed if it runs; neighbours whose policy changed are told anew."""
        for path, after in self.files(routing).items():
            file = Path(path)
            before = file.read_text() if file.exists() else ""
            file.write_text(after)
            socket = self._socket(file.stem)
            told = frr_lines.commands(before, after)
            if told and vty.answers(socket):
                vty.configure(socket, told)
                for session in routing.sessions if file.stem == "bgpd" else ():
                    for name, way in ((frr_policy.took(session), "in"), (frr_policy.told(session), "out")):
                        if any(name in _names(line) for line in told):
                            family = f"ipv{session.family} unicast"
                            vty.ask(socket, f"clear bgp {family} {session.address} soft {way}")

    def _passive(self) -> set[str]:
        """The interfaces on which OSPFv3 speaks with nobody."""
        tree = frr_lines.parse(Path(self._file("ospf6d")).read_text())
        return {line.split()[1] for line, below in tree.items() if "ipv6 ospf6 passive" in below}

    def _present(self) -> list[str]:
        return [name for name in _ORDER if Path(self._file(name)).exists()]

    def _file(self, name: str) -> str:
        return f"{self.folder}/{name}.conf"

    def _socket(self, name: str) -> str:
        return f"{self.folder}/{name}.vty"


def _names(line: str) -> set[str]:
    """The names of policies that a line is about: its own lists are named after a route-map."""
    return {word.partition(".")[0] for word in line.split()}


# Configurations.


def _zebra(routing: Routing) -> Lines:
    yield f"ip router-id {routing.router_id}"
    yield "no zebra nexthop kernel enable"  # routes say themselves where they lead


def _staticd(routing: Routing) -> Lines:
    if not routing.forwards:
        return
    yield "! what is not known more exactly is dropped"
    for prefix in routing.originates:
        yield f"{'ipv6' if ':' in prefix else 'ip'} route {prefix} blackhole"


def _bfdd(routing: Routing) -> Lines:
    asked = [session.bfd for session in routing.sessions]
    asked += [link.bfd for link in routing.igp.links] if routing.igp else []
    profiles = dict.fromkeys(filter(None, asked))
    if profiles:
        yield "bfd"
    for bfd in profiles:
        yield f" profile {_profile(bfd)}"
        yield f"  detect-multiplier {bfd.multiplier}"
        yield f"  receive-interval {bfd.interval_ns // _MS}"
        yield f"  transmit-interval {bfd.interval_ns // _MS}"


def _profile(bfd: Bfd) -> str:
    return f"{bfd.multiplier}x{bfd.interval_ns // _MS}ms"


def _speaks(igp: Igp | None, family: int) -> bool:
    """Whether anybody is there to speak OSPF with."""
    return igp is not None and any(link.kind != "stub" and family in link.families for link in igp.links)


def _ospfd(routing: Routing) -> Lines:
    igp = routing.igp
    if igp is None or not _speaks(igp, 4):
        return
    for link in igp.links:
        if 4 in link.families:
            yield f"interface {link.interface}"
            yield " ip ospf area 0"
            yield f" ip ospf cost {link.cost}"
            yield from _kept(igp, link.kind, "ip ospf")
            if link.bfd:
                yield " ip ospf bfd"
                yield f" ip ospf bfd profile {_profile(link.bfd)}"
    yield "interface lo"
    yield " ip ospf area 0"
    yield " ip ospf passive"
    yield "router ospf"
    yield f" ospf router-id {routing.router_id}"
    if routing.multipath is not None:
        yield f" maximum-paths {routing.multipath}"


def _ospf6d(routing: Routing) -> Lines:
    igp = routing.igp
    if igp is None or not _speaks(igp, 6):
        return
    for link in igp.links:
        if 6 in link.families:
            yield f"interface {link.interface}"
            yield " ipv6 ospf6 area 0"
            yield f" ipv6 ospf6 cost {link.cost}"
            yield from _kept(igp, link.kind, "ipv6 ospf6")
            if link.bfd:
                yield f" ipv6 ospf6 bfd profile {_profile(link.bfd)}"
    yield "interface lo"
    yield " ipv6 ospf6 area 0"
    yield " ipv6 ospf6 passive"
    yield "router ospf6"
    yield f" ospf6 router-id {routing.router_id}"
    if routing.multipath is not None:
        yield f" maximum-paths {routing.multipath}"


def _kept(igp: Igp, kind: str, ospf: str) -> Lines:
    """How an interface of OSPF's keeps its neighbours, if it is to have any."""
    if kind == "stub":
        yield f" {ospf} passive"
        return
    if kind == "point-to-point":
        yield f" {ospf} network point-to-point"
    if igp.hello_ns is not None:
        yield f" {ospf} hello-interval {igp.hello_ns // _S}"
    if igp.dead_ns is not None:
        yield f" {ospf} dead-interval {igp.dead_ns // _S}"


def _bgpd(routing: Routing) -> Lines:
    if not routing.sessions:
        return
    yield "bgp route-map delay-timer 0"  # who changes a route-map says himself who is told anew
    yield from frr_policy.local(routing)
    # before the sessions: one that names a route-map that is not there yet tells nobody anything
    for session in routing.sessions:
        yield from frr_policy.policies(routing, session)
    yield f"router bgp {routing.asn}"
    yield f" bgp router-id {routing.router_id}"
    yield " no bgp default ipv4-unicast"
    yield " no bgp network import-check"
    yield " bgp bestpath compare-routerid"
    if routing.cluster_id:
        yield f" bgp cluster-id {routing.cluster_id}"
    if routing.multipath is not None and routing.multipath > 1:
        yield " bgp bestpath as-path multipath-relax"
    yield from _restarting(routing.sessions)
    for session in routing.sessions:
        yield from (f" neighbor {session.address} {option}" for option in _options(session))
    for family in routing.families:
        yield from _family(routing, family)


def _restarting(sessions: Iterable[Session]) -> Lines:
    """What FRR has for all of its sessions at once: the longest times that are written for one."""
    restarts = [each.graceful_restart for each in sessions if each.graceful_restart]
    if any(each.restart for each in restarts):
        yield " bgp graceful-restart preserve-fw-state"
    if times := [each.time_ns for each in restarts if each.time_ns is not None]:
        yield f" bgp graceful-restart restart-time {max(times) // _S}"
    if times := [each.long_lived_ns for each in restarts if each.long_lived_ns is not None]:
        yield f" bgp long-lived-graceful-restart stale-time {max(times) // _S}"


def _options(session: Session) -> Lines:
    yield f"remote-as {session.asn}"
    yield f"description {session.neighbor} ({session.relation})"
    yield f"update-source {session.local_address}"
    timers = session.timers
    if timers.hold_ns is not None or timers.keepalive_ns is not None:
        hold = 180 if timers.hold_ns is None else timers.hold_ns // _S
        keepalive = hold // 3 if timers.keepalive_ns is None else timers.keepalive_ns // _S
        yield f"timers {keepalive} {hold}"
    if timers.connect_retry_ns is not None:
        yield f"timers connect {timers.connect_retry_ns // _S}"
    elif session.relation == "internal":
        yield f"timers connect {_RETRY_S}"
    if timers.advertisement_ns is not None:
        yield f"advertisement-interval {timers.advertisement_ns // _S}"
    if session.graceful_restart and session.graceful_restart.restart:
        yield "graceful-restart"
    if session.bfd:
        yield "bfd"
        yield f"bfd profile {_profile(session.bfd)}"
    if session.ttl_security:
        yield "ttl-security hops 1"
    if session.shut:
        yield "shutdown"


def _family(routing: Routing, family: int) -> Lines:
    yield f" address-family ipv{family} unicast"
    for prefix in routing.originates:
        if (":" in prefix) == (family == 6):
            yield f"  network {prefix} route-map {ORIGINATED}"
    sessions = [session for session in routing.sessions if session.family == family]
    for prefix in dict.fromkeys(prefix for session in sessions for prefix in session.more):
        yield f"  network {prefix} route-map {ASIDE}"
    if any((":" in prefix) == (family == 6) for prefix in routing.connects):
        yield f"  redistribute connected route-map {CONNECTED}{family}"
        if _speaks(routing.igp, family):
            yield f"  redistribute ospf{'6' * (family == 6)} route-map {CONNECTED}{family}"
    yield f"  distance bgp {_BELOW_OSPF} {_BELOW_OSPF} {_BELOW_OSPF}"
    yield f"  maximum-paths {routing.multipath or 1}"
    yield f"  maximum-paths ibgp {routing.multipath or 1}"
    for session in sessions:
        yield from (f"  neighbor {session.address} {option}" for option in _channel(session))
    yield " exit-address-family"


def _channel(session: Session) -> Lines:
    yield "activate"
    yield f"route-map {frr_policy.took(session)} in"
    yield f"route-map {frr_policy.told(session)} out"
    if session.next_hop_self:
        yield "next-hop-self"
    if session.reflector_client:
        yield "route-reflector-client"
    if session.server_client:
        yield "route-server-client"
    if session.maximum:
        most, again = session.maximum, session.maximum.again_ns
        action = {"warn": " warning-only", "restart": f" restart {(again or 0) // _MIN}"}
        yield f"maximum-prefix {most.prefixes}{action.get(most.action, '')} force"


# Answers.


def _established(socket: str) -> bool:
    """Whether every session is established, or closed for too many prefixes, which ends it as well."""
    families = vty.asked(socket, "show bgp summary")
    peers = [peer for each in families.values() if isinstance(each, dict) for peer in each["peers"].items()]
    return all(
        peer["state"] == "Established" or "PfxCt" in peer["state"] or _refused(socket, address)
        for address, peer in peers
    )


def _refused(socket: str, address: str) -> bool:
    """Whether the neighbour has closed the session for too many prefixes."""
    told = vty.asked(socket, f"show bgp neighbors {address}").get(address, {})
    return "Maximum Number of Prefixes" in told.get("lastNotificationReason", "")


def _linked(ospfd: str) -> bool:
    """Whether every OSPF link has found its neighbour."""
    interfaces = vty.asked(ospfd, "show ip ospf interface").get("interfaces", {})
    neighbors = vty.asked(ospfd, "show ip ospf neighbor").get("neighbors", {})
    states = {name: each.get("state", "") for name, each in interfaces.items()}
    full = {
        each["ifaceName"].partition(":")[0]
        for found in neighbors.values() for each in found if each["nbrState"].startswith("Full")
    }  # fmt: skip
    return not unlinked(
        states, full, {name for name, each in interfaces.items() if "timerPassiveIface" in each}
    )


def _linked6(ospf6d: str, passive: set[str]) -> bool:
    """The same of OSPFv3, which does not say where it is passive."""
    interfaces = vty.asked(ospf6d, "show ipv6 ospf6 interface")
    neighbors = vty.asked(ospf6d, "show ipv6 ospf6 neighbor").get("neighbors", [])
    states = {name: each.get("ospf6InterfaceState", "") for name, each in interfaces.items()}
    full = {each["interfaceName"] for each in neighbors if each["state"] == "Full"}
    return not unlinked(states, full, passive)


def unlinked(states: Mapping[str, str], full: set[str], passive: set[str]) -> list[str]:
    """The interfaces that are up, wait for a neighbour and have none whose database is in step.

    A point-to-point link has one neighbour. A broadcast network may have none: it has settled when the
    time to look for a designated router is over (RFC 2328, section 9.1).
    """
    return [
        name
        for name, state in states.items()
        if name not in passive | full and state in ("Point-To-Point", "PointToPoint", "Waiting")
    ]
