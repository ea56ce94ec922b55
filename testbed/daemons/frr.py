"""FRR speaks BGP, OSPF and BFD in a process each, around zebra, which has the kernel's routes.

Written against FRR 8.4.4, whose user guide has every command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from testbed.daemons import READY, Daemon, Limit, frr_lines, frr_policy, vty
from testbed.daemons.frr_conf import PROCESSES, restarts_s
from testbed.job import Process
from testbed.routing import Routing

_LIBEXEC = "/usr/lib/frr"
_S, _MS = 1_000_000_000, 1_000_000
_MIN = 60 * _S


class Frr(Daemon):
    """FRRouting, as it runs on many hosts, white boxes and route servers."""

    kind = "frr"
    programs: ClassVar[dict[str, str]] = {
        "vtysh": "frr", **{f"{_LIBEXEC}/{name}": "frr" for name in PROCESSES},
    }  # fmt: skip
    configuration: ClassVar[tuple[str, ...]] = tuple(f"{name}.conf" for name in PROCESSES)
    cannot: ClassVar[dict[str, str]] = {"rov": "its bgpd is started without the module that validates"}
    limits: ClassVar[dict[tuple[str, ...], Limit]] = {
        ("advertisement-interval",): Limit(least=0, most=600 * _S),
        ("max-prefix", "again"): Limit(least=_MIN, most=65535 * _MIN, step=_MIN),
        ("bfd", "interval"): Limit(least=10 * _MS, most=60 * _S),
        ("bfd", "multiplier"): Limit(least=2, most=255),
    }

    def files(self, routing: Routing) -> dict[str, str]:
        """A configuration for each process."""
        texts = {name: "\n".join(words(routing)) for name, words in PROCESSES.items()}
        head = f"! {routing.node}, {routing.role} of AS{routing.asn}\nfrr defaults traditional\n"
        named = f"{head}hostname {routing.node}\n"
        return {self._file(name): f"{named}{text}\n" for name, text in texts.items() if text}

    def processes(self, routing: Routing) -> tuple[Process, ...]:
        """Those that have something to do; the log of each goes to its process's."""
        running = [name for name in PROCESSES if self._file(name) in self.files(routing)]
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
        if name == "zebra" and (kept_s := restarts_s(routing)):
            more = ("--graceful_restart", str(kept_s))  # what the last one left in the kernel stays so long
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
        asked = {"ospfd": _unlinked, "ospf6d": _unlinked6, "bgpd": _closed}
        try:
            return self.answers() and not any(
                waiting(self._socket(name), frr_lines.parse(Path(self._file(name)).read_text()))
                for name, waiting in asked.items()
                if name in self._present()
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

    def _present(self) -> list[str]:
        return [name for name in PROCESSES if Path(self._file(name)).exists()]

    def _file(self, name: str) -> str:
        return f"{self.folder}/{name}.conf"

    def _socket(self, name: str) -> str:
        return f"{self.folder}/{name}.vty"


def _names(line: str) -> set[str]:
    """The names of policies that a line is about: its own lists are named after a route-map."""
    return {word.partition(".")[0] for word in line.split()}


# What a process says of those that its configuration names.


def _closed(bgpd: str, told: frr_lines.Tree) -> list[str]:
    """The neighbours whose session is not up, nor was closed for too many prefixes, which ends it, too."""
    families = vty.asked(bgpd, "show bgp summary")
    states = {
        address: peer["state"]
        for each in families.values() if isinstance(each, dict) for address, peer in each["peers"].items()
    }  # fmt: skip
    router = next(below for line, below in told.items() if line.startswith("router bgp "))
    wanted = [words[1] for words in map(str.split, router) if words[2:3] == ["remote-as"]]
    return [
        address
        for address in wanted
        if (state := states.get(address, "")) != "Established"
        and "PfxCt" not in state
        and not _refused(bgpd, address)
    ]


def _refused(bgpd: str, address: str) -> bool:
    """Whether the neighbour has closed the session for too many prefixes."""
    told = vty.asked(bgpd, f"show bgp neighbors {address}").get(address, {})
    return "Maximum Number of Prefixes" in told.get("lastNotificationReason", "")


def _unlinked(ospfd: str, told: frr_lines.Tree) -> list[str]:
    interfaces = vty.asked(ospfd, "show ip ospf interface").get("interfaces", {})
    neighbors = vty.asked(ospfd, "show ip ospf neighbor").get("neighbors", {})
    states = {name: each.get("state", "") for name, each in interfaces.items()}
    full = {
        each["ifaceName"].partition(":")[0]
        for found in neighbors.values() for each in found if each["nbrState"].startswith("Full")
    }  # fmt: skip
    return unlinked(told, states, full)


def _unlinked6(ospf6d: str, told: frr_lines.Tree) -> list[str]:
    interfaces = vty.asked(ospf6d, "show ipv6 ospf6 interface")
    neighbors = vty.asked(ospf6d, "show ipv6 ospf6 neighbor").get("neighbors", [])
    states = {name: each.get("ospf6InterfaceState", "") for name, each in interfaces.items()}
    full = {each["interfaceName"] for each in neighbors if each["state"] == "Full"}
    return unlinked(told, states, full)


def unlinked(told: frr_lines.Tree, states: Mapping[str, str], full: set[str]) -> list[str]:
    """The interfaces that speak OSPF, are to have a neighbour, and have none whose database is in step.

    A point-to-point link has one. A broadcast network may have none: it has settled when the time to look
    for a designated router is over (RFC 2328, section 9.1).
    """
    speaking = [
        line.split()[1]
        for line, below in told.items()
        if line.startswith("interface ") and not any(each.endswith(" passive") for each in below)
    ]
    elected = ("DR", "BDR", "Backup", "DROther")
    return [name for name in speaking if name not in full and states.get(name) not in elected]
