"""A run's tables are made from its captures and records, one Parquet file each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.job import Job
from testbed.measure import dns, forwarding, packet_table, records, served, steering
from testbed.measure.addresses import Addresses
from testbed.measure.bgp import bgp
from testbed.measure.connections import Connections, Keyed, keyed
from testbed.measure.coverage import covered
from testbed.measure.flows import flows, named
from testbed.measure.hops import IN_FLIGHT_NS, hops
from testbed.measure.packets import Packets, joined, nothing, parse
from testbed.measure.pcap import Pcap
from testbed.measure.points import Point, file_of, owners, points
from testbed.measure.query import QueryError, Tables
from testbed.measure.ring import convert
from testbed.measure.schema import TABLES

__all__ = ["QueryError", "Tables", "capture_drops", "write"]

Progress = Callable[[str, float, float], None]
Row = dict[str, Any]

# Small groups keep memory low; numbers that rise are smaller as differences than in a dictionary.
_ROW_GROUP = 256 * 1024
_VARIED = ("ip_id", "delay_ns")  # too many values for a dictionary
_RISING = ("t_ns", "sent_ns", "received_ns", "start_ns", "tcp_seq", "tcp_ack", "ts_val", "ts_ecr")


def write(run: Path, progress: Progress | None = None) -> dict[str, int]:
    """Make every table of a run folder, and return how many rows each has.

    Ring dumps become pcap files on the way. Equal runs give equal files, byte for byte. What is
    damaged or missing is left out and counted in the table `captures`.
    """
    job = Job.read(run)
    guest = _guest(run)
    t0_unix_ns = int(guest.get("t0_unix_ns", job.epoch_ns))
    addresses, connections, nodes = Addresses(), Connections(), owners(job)
    places = points(job)
    steps = 2 * len(places) + 2
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress("tables", done, steps)

    seen: list[tuple[Point, Packets]] = []
    pairs: list[Keyed] = []
    summary: list[Row] = []
    for point in places:
        packets, row = _captured(run, point, t0_unix_ns, addresses, guest.get("capture", {}))
        seen.append((point, packets))
        pairs.append(keyed(packets))
        summary.append(row)
        connections.add(packets, pairs[-1])
        step()
    connections.number()

    folder = run / "tables"
    folder.mkdir(exist_ok=True)
    words = pa.array(addresses.texts, pa.string())
    found: list[pl.DataFrame] = []

    def packet_tables() -> Iterable[pa.Table]:
        for (point, packets), pair in zip(seen, pairs, strict=True):
            connections.assign(packets, pair)
            found.append(flows(packets, pair, connections, point))
            yield packet_table.table(packets, point, words)
            step()

    rows = {"packets": _save(folder, "packets", packet_tables(), packet_table.SCHEMA)}
    pairs.clear()
    every = pl.concat([each for each in found if len(each)] or [pl.DataFrame()])
    if len(every):
        every = named(every, addresses.texts, nodes).sort("flow_id", "node", "interface")
        rows["flows"] = _save(folder, "flows", [_arrow("flows", every)])
    else:
        rows["flows"] = _save_rows(folder, "flows", [])
    last_ns = max((int(packets.t_ns[-1]) for _, packets in seen if len(packets)), default=0)
    end_ns = int(guest["end_unix_ns"]) - t0_unix_ns if "end_unix_ns" in guest else last_ns
    crossings = (covered(each, places, IN_FLIGHT_NS) for each in hops(seen, job, addresses, end_ns))
    rows["hops"] = _save(folder, "hops", (_arrow("hops", each) for each in crossings))
    step()

    written = records.read(run / "events.jsonl", t0_unix_ns)
    forwarding.name_links(written.rows["routes"], job)
    for name in records.NAMES:
        rows[name] = _save_rows(folder, name, written.rows[name], "t_ns")
    logged = served.served(run / "logs", t0_unix_ns, nodes)
    rows["served"] = _save_rows(folder, "served", logged, "t_ns", "node", "request_id")
    sessions = records.sessions(job, written.rows["playback"], max(end_ns, job.duration_ns))
    rows["sessions"] = _save_rows(folder, "sessions", sessions, "start_ns", "session_id")
    rows["bgp"] = _save_rows(folder, "bgp", bgp(seen, addresses, nodes), "t_ns", "node", "peer")
    asked = dns.queries(seen, addresses, nodes)
    rows["dns"] = _save_rows(folder, "dns", asked, "t_ns", "node", "qname", "qtype")
    decided = steering.decisions(run, job, t0_unix_ns)
    rows["steering"] = _save_rows(folder, "steering", decided, "t_ns", "decision")
    rows["captures"] = _save_rows(folder, "captures", summary)
    step()
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


def _captured(
    run: Path, point: Point, t0_unix_ns: int, addresses: Addresses, reported: dict[str, Any]
) -> tuple[Packets, Row]:
    """The packets of a capture and its row of the table `captures`."""
    path = file_of(run, point)
    ring = path.with_suffix(".ring")
    damaged = unread = 0
    if ring.exists():
        whole = path.with_suffix(".part")
        damaged = convert(ring, whole).unreadable
        whole.replace(path)
        ring.unlink()
    chunks = []
    if path.exists():
        pcap = Pcap(path)
        chunks = [parse(each, point, t0_unix_ns, addresses) for each in pcap]
        unread = pcap.unread
    packets = joined(chunks) if chunks else nothing()
    report = reported.get(point.name, {})
    # The kernel's count of packets includes those it dropped (packet_getsockopt, PACKET_STATISTICS).
    due = int(report.get("packets", len(packets))) - int(report.get("drops", 0))
    return packets, {
        "node": point.node,
        "interface": point.interface,
        "link": point.link,
        "packets": len(packets),
        "drops": report.get("drops"),
        "unreadable": max(damaged, due - len(packets), 0),
        "unread_bytes": unread,
    }


def _arrow(name: str, frame: pl.DataFrame) -> pa.Table:
    schema = TABLES[name].arrow
    return frame.select(schema.names).to_arrow().cast(schema)


def _save_rows(folder: Path, name: str, rows: list[Row], *by: str) -> int:
    """Write rows given one by one, sorted; text columns take anything else as JSON."""
    schema = TABLES[name].arrow
    texts = [each.name for each in schema if each.type == pa.string()]
    shown = [row | {key: _text(row.get(key)) for key in texts} for row in rows]
    shown.sort(key=lambda row: tuple((row[key] is not None, row[key]) for key in by))
    return _save(folder, name, [pa.Table.from_pylist(shown, schema)])


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def _save(folder: Path, name: str, parts: Iterable[pa.Table], schema: pa.Schema | None = None) -> int:
    """Write a table; it appears under its name when it is whole."""
    schema = schema or TABLES[name].arrow
    path, part = folder / f"{name}.parquet", folder / f"{name}.part"
    rising = [each for each in _RISING if each in schema.names]
    rows = 0
    with pq.ParquetWriter(
        part,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[each.name for each in schema if each.name not in (*rising, *_VARIED)],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        store_schema=False,
    ) as writer:
        for each in parts:
            writer.write_table(each, row_group_size=_ROW_GROUP)
            rows += each.num_rows
    part.replace(path)
    return rows
