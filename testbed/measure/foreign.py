"""Captures made by others become tables, too: each file, or interface of a pcapng, is a capture point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testbed.measure import dns, packet_table
from testbed.measure.bgp import bgp
from testbed.measure.capture import Capture, read
from testbed.measure.parquet import arrow, save, save_rows
from testbed.measure.points import Point
from testbed.measure.seen import Seen

TABLES = ("packets", "flows", "bgp", "dns", "captures")


def tabulate(
    files: Sequence[Path], folder: Path, progress: Callable[[str, float, float], None] | None = None
) -> tuple[dict[str, int], dict[Path, str]]:
    """Make the tables packets, flows, bgp, dns and captures of some captures, pcap or pcapng, in `folder`.

    Times are nanoseconds since 1970. A node is a file without its ending, an interface what a
    pcapng calls it, and a client or server an address; which way a packet went is null unless the
    file says. Returns how many rows each table has, and what is wrong with files, in words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stems = Counter(path.stem for path in files)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress("tables", done, 2 * len(files))

    rows: dict[str, int] = {}
    with TemporaryDirectory(prefix="spool-", dir=folder) as spool, ThreadPoolExecutor(2) as pool:

        def taken(number: int) -> Capture:
            path = files[number]
            name = path.stem if stems[path.stem] == 1 else str(path.with_suffix(""))
            return read(path, _point(name), 0, Path(spool) / str(number))

        captures = []
        for capture in pool.map(taken, range(len(files))):
            captures.append(capture)
            step()
        seen = Seen(captures)
        rows["packets"] = save(folder, "packets", seen.packet_tables(step), packet_table.SCHEMA)
        rows["flows"] = save(folder, "flows", [arrow("flows", seen.flows({}))])
    control = seen.control()
    rows["bgp"] = save_rows(folder, "bgp", bgp(control, seen.addresses, {}), "t_ns", "node", "peer")
    rows["dns"] = save_rows(folder, "dns", dns.queries(control, seen.addresses, {}), "t_ns", "node", "qname")
    rows["captures"] = save_rows(folder, "captures", [_summary(each) for each in captures])
    problems = {path: each.problem for path, each in zip(files, captures, strict=True) if each.problem}
    return rows, problems


def _point(name: str) -> Point:
    """A capture point of which nothing is known but what it is called."""
    return Point(
        node=name, interface="", link=name, mac=bytes(6), bridge=False, peer="", peer_mac=bytes(6),
        peer_bridge=False,
    )  # fmt: skip


def _summary(capture: Capture) -> dict[str, Any]:
    names = ", ".join(interface for _, interface, _ in capture.places)
    return {
        "node": capture.point.node,
        "interface": names,
        "link": capture.point.link,
        "packets": capture.count,
        "drops": None,
        "unreadable": 0,
        "unread_bytes": capture.unread,
    }
