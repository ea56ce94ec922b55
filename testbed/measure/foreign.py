"""Captures made by others become tables, too: each file, or interface of a pcapng, is a capture point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from testbed.measure import dns, packet_table
from testbed.measure.bgp import bgp
from testbed.measure.capture import Capture, Reading, Spooled, read
from testbed.measure.parquet import arrow, save, save_rows
from testbed.measure.points import Point
from testbed.measure.seen import Seen, packet_tables

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

    names = [path.stem if stems[path.stem] == 1 else str(path.with_suffix("")) for path in files]
    rows: dict[str, int] = {}
    captures: list[Capture] = []
    if len(files) == 1 and (straight := _straight(files[0], _point(names[0]), folder)):
        captures, rows["packets"] = [straight], straight.count
        seen = Seen(captures)
        step()
        step()
    else:
        with TemporaryDirectory(prefix="spool-", dir=folder) as spool, ThreadPoolExecutor(2) as pool:

            def taken(number: int) -> Spooled:
                return read(files[number], _point(names[number]), 0, Path(spool) / str(number))

            spooled = []
            for capture in pool.map(taken, range(len(files))):
                spooled.append(capture)
                step()
            captures, seen = list(spooled), Seen(spooled)
            tables = packet_tables(spooled, seen.connections, step)
            rows["packets"] = save(folder, "packets", tables, packet_table.SCHEMA)
    rows["flows"] = save(folder, "flows", [arrow("flows", seen.flows({}))])
    control = seen.control()
    rows["bgp"] = save_rows(folder, "bgp", bgp(control, seen.addresses, {}), "t_ns", "node", "peer")
    rows["dns"] = save_rows(folder, "dns", dns.queries(control, seen.addresses, {}), "t_ns", "node", "qname")
    rows["captures"] = save_rows(folder, "captures", [_summary(each) for each in captures])
    problems = {path: each.problem for path, each in zip(files, captures, strict=True) if each.problem}
    return rows, problems


class _Several(Exception):
    """A file has more than one interface."""


def _straight(path: Path, point: Point, folder: Path) -> Capture | None:
    """Make the table `packets` of one file as it is read, without a spool.

    None if its own numbers of connections are not those that they get when all is known, or it has
    several interfaces.
    """
    capture = Capture(point)

    def tables() -> Iterator[pa.Table]:
        for packets in Reading(path, capture, 0):
            if len(capture.interfaces) > 1:
                raise _Several
            yield packet_table.Tabled(capture).table(packets)

    try:
        save(folder, "packets", tables(), packet_table.SCHEMA)
    except _Several:
        return None
    (numbers,) = Seen([capture]).connections.numbers
    return capture if np.array_equal(numbers, np.arange(len(numbers))) else None


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
