"""A run's tables are made from its captures and records, one Parquet file each."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from testbed.job import Job
from testbed.measure import convergence, dns, forwarding, packet_table, probes, records, served, steering
from testbed.measure.bgp import bgp
from testbed.measure.capture import Spooled, read
from testbed.measure.coverage import covered
from testbed.measure.hops import IN_FLIGHT_NS, hops
from testbed.measure.parquet import arrow, save, save_rows
from testbed.measure.points import Point, file_of, owners, points
from testbed.measure.query import QueryError, Tables
from testbed.measure.ring import convert
from testbed.measure.schema import TABLES
from testbed.measure.seen import Seen, packet_tables

__all__ = ["QueryError", "Tables", "capture_drops", "write"]

Progress = Callable[[str, float, float], None]
Row = dict[str, Any]


class _Steps:
    """Counts what is done, in whichever thread, and tells the progress."""

    def __init__(self, progress: Progress | None, of: int) -> None:
        self._progress, self._of, self._count, self._lock = progress, of, 0, Lock()

    def done(self) -> None:
        """One more step is done."""
        with self._lock:
            self._count += 1
            if self._progress:
                self._progress("tables", self._count, self._of)


def write(run: Path, progress: Progress | None = None) -> dict[str, int]:
    """Make every table of a run folder, and return how many rows each has.

    Ring dumps become pcap files on the way. Equal runs give equal files, byte for byte. What is
    damaged or missing is left out and counted in the table `captures`. Memory is bounded, however
    long the captures are; what is read of them waits in a spool in the folder of the tables.
    """
    job = Job.read(run)
    guest = _guest(run)
    t0_unix_ns = int(guest.get("t0_unix_ns", job.epoch_ns))
    nodes, places = owners(job), points(job)
    steps = _Steps(progress, 2 * len(places) + 2)
    folder = run / "tables"
    folder.mkdir(exist_ok=True)
    rows: dict[str, int] = {}
    with TemporaryDirectory(prefix="spool-", dir=folder) as spool, ThreadPoolExecutor(2) as pool:

        def captured(point: Point) -> tuple[Spooled, int]:
            path = file_of(run, point)
            damaged = _unringed(path)
            taken = read(path, point, t0_unix_ns, Path(spool) / point.name)
            steps.done()
            return taken, damaged

        taken = list(pool.map(captured, places))
        captures = [capture for capture, _ in taken]
        seen = Seen(captures)
        end_ns = int(guest["end_unix_ns"]) - t0_unix_ns if "end_unix_ns" in guest else seen.last_ns
        numbers = seen.connections.numbers
        crossing = hops(captures, seen.codes, numbers, job, seen.addresses, end_ns)
        crossings = (covered(each, places, IN_FLIGHT_NS) for each in crossing)
        crossed = pool.submit(save, folder, "hops", (arrow("hops", each) for each in crossings))
        tables = packet_tables(captures, seen.connections, steps.done)
        rows["packets"] = save(folder, "packets", tables, packet_table.SCHEMA)
        rows["flows"] = save(folder, "flows", [arrow("flows", seen.flows(nodes))])
        rows["hops"] = crossed.result()
    steps.done()

    written = records.read(run / "events.jsonl", t0_unix_ns)
    forwarding.name_links(written.rows["routes"], job)
    for name in records.NAMES:
        rows[name] = save_rows(folder, name, written.rows[name], "t_ns")
    logged = served.served(run / "logs", t0_unix_ns, nodes)
    rows["served"] = save_rows(folder, "served", logged, "t_ns", "node", "request_id")
    sessions = records.sessions(job, written.rows["playback"], max(end_ns, job.duration_ns))
    rows["sessions"] = save_rows(folder, "sessions", sessions, "start_ns", "session_id")
    control = seen.control()
    rows["bgp"] = save_rows(folder, "bgp", bgp(control, seen.addresses, nodes), "t_ns", "node", "peer")
    asked = dns.queries(control, seen.addresses, nodes)
    rows["dns"] = save_rows(folder, "dns", asked, "t_ns", "node", "qname", "qtype")
    decided = steering.decisions(run, job, t0_unix_ns)
    rows["steering"] = save_rows(folder, "steering", decided, "t_ns", "decision")
    reported = guest.get("capture", {})
    summary = [_summary(capture, damaged, reported) for capture, damaged in taken]
    rows["probes"] = save_rows(folder, "probes", list(probes.probes(Tables(run))), "t_ns", "node", "prefix")
    found_out = list(convergence.convergence(Tables(run)))
    rows["convergence"] = save_rows(folder, "convergence", found_out, "t_ns", "fault", "phase")
    rows["captures"] = save_rows(folder, "captures", summary)
    steps.done()
    return {name: rows[name] for name in TABLES}


def capture_drops(run: Path) -> dict[str, int]:
    """How many packets the kernel dropped at each capture point, as the guest reported at its end."""
    return {name: int(each["drops"]) for name, each in sorted(_guest(run).get("capture", {}).items())}


def _guest(run: Path) -> dict[str, Any]:
    """What the guest said at its end; nothing if it did not get there."""
    try:
        said = json.loads((run / "guest.json").read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _unringed(path: Path) -> int:
    """Make the pcap file of a ring dump, if there is one; how many of its packets cannot be read."""
    ring = path.with_suffix(".ring")
    if not ring.exists():
        return 0
    whole = path.with_suffix(".part")
    damaged = convert(ring, whole).unreadable
    whole.replace(path)
    ring.unlink()
    return damaged


def _summary(capture: Spooled, damaged: int, reported: dict[str, Any]) -> Row:
    """A capture's row of the table `captures`."""
    point = capture.point
    report = reported.get(point.name, {})
    # The kernel's count of packets includes those it dropped (packet_getsockopt, PACKET_STATISTICS).
    due = int(report.get("packets", capture.count)) - int(report.get("drops", 0))
    return {
        "node": point.node,
        "interface": point.interface,
        "link": point.link,
        "packets": capture.count,
        "drops": report.get("drops"),
        "unreadable": max(damaged, due - capture.count, 0),
        "unread_bytes": capture.unread,
    }
