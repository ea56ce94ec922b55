"""A capture point is one end of a link, where both directions of the link are recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from testbed.job import Interface, Job, Node, Window


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a capture was taken, and who is at the other end of the wire."""

    node: str
    interface: str
    link: str
    mac: bytes
    bridge: bool  # the interface is a port of a learning bridge
    peer: str
    peer_mac: bytes
    peer_bridge: bool
    windows: tuple[Window, ...] = ()  # when it was captured, and which packets; empty: all, all the time

    @property
    def name(self) -> str:
        """The stem of the capture's file name."""
        return f"{self.node}.{self.interface}"


def points(job: Job) -> list[Point]:
    """The capture points of a job, by name; one for each captured link."""
    found = []
    wanted = {job.link(name).name for name in job.captures}
    for link in job.links:
        if link.name not in wanted:
            continue
        ends = [(link.a, link.a_interface), (link.b, link.b_interface)]
        if link.captured_at == "b":
            ends.reverse()
        (node, interface), (peer, peer_interface) = ends
        found.append(
            Point(
                node=node,
                interface=interface,
                link=link.name,
                mac=_mac(_interface(job, node, interface)),
                bridge=job.node(node).bridge,
                peer=peer,
                peer_mac=_mac(_interface(job, peer, peer_interface)),
                peer_bridge=job.node(peer).bridge,
                windows=job.windows.get(link.name, ()),
            )
        )
    return sorted(found, key=lambda point: point.name)


def own_addresses(node: Node) -> set[str]:
    """Every address that a node answers to, of either family."""
    ends = (address for each in node.interfaces for address in (each.address, each.address6))
    held = (node.address, node.address6, *node.loopbacks, *ends)
    return {address.split("/")[0] for address in held if address}


def owners(job: Job) -> dict[str, str]:
    """The node that has each address of the job, loopbacks included; an anycast address is nobody's."""
    found: dict[str, str] = {}
    shared = Counter(loopback for node in job.nodes for loopback in node.loopbacks)
    for node in job.nodes:
        loopbacks = (loopback for loopback in node.loopbacks if shared[loopback] == 1)
        own = (address for each in node.interfaces for address in (each.address, each.address6))
        for address in (node.address, node.address6, *loopbacks, *own):
            if address:
                found.setdefault(address.split("/")[0], node.name)
    return found


def file_of(run: Path, point: Point) -> Path:
    """The pcap file of a point in a run folder."""
    return run / "captures" / f"{point.name}.pcap"


def _interface(job: Job, node: str, name: str) -> Interface:
    return next(each for each in job.node(node).interfaces if each.name == name)


def _mac(interface: Interface) -> bytes:
    return bytes.fromhex(interface.mac.replace(":", ""))
