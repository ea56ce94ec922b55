"""A table becomes a Parquet file: how its columns are encoded, and that it is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.measure.schema import TABLES

# Small groups keep memory low; numbers that rise are smaller as differences than in a dictionary.
_ROW_GROUP = 256 * 1024
_VARIED = ("delay_ns",)  # too many values for a dictionary
_NARROW = (  # as small plain and compressed as in a dictionary, and sooner there
    "length", "ttl", "ecn", "sport", "dport", "tcp_flags", "tcp_len", "tcp_window", "tcp_mss", "tcp_scale",
    "icmp_type", "icmp_code", "vlan", "fragment", "flow_id", "in_flight", "rtt_ns", "quoted_sport",
    "quoted_dport",
)  # fmt: skip
_SOUGHT = ("t_ns", "sent_ns", "start_ns", "flow_id", "node", "interface", "link", "from")  # with statistics
_RISING = ("t_ns", "sent_ns", "received_ns", "start_ns", "tcp_seq", "tcp_ack", "ts_val", "ts_ecr", "ip_id")


def arrow(name: str, frame: pl.DataFrame) -> pa.Table:
    """A frame with the columns of a table."""
    schema = TABLES[name].arrow
    return frame.select(schema.names).to_arrow().cast(schema)


def save(folder: Path, name: str, parts: Iterable[pa.Table], schema: pa.Schema | None = None) -> int:
    """Write a table; it appears under its name when it is whole."""
    schema = schema or TABLES[name].arrow
    path, part = folder / f"{name}.parquet", folder / f"{name}.part"
    rising = [each for each in _RISING if each in schema.names]
    rows = 0
    with pq.ParquetWriter(
        part,
        schema,
        compression="lz4",
        use_dictionary=[each.name for each in schema if each.name not in (*rising, *_VARIED, *_NARROW)],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        write_statistics=[each.name for each in schema if each.name in _SOUGHT],
        write_batch_size=_ROW_GROUP,
        store_schema=False,
    ) as writer:
        for each in parts:
            writer.write_table(each, row_group_size=_ROW_GROUP)
            rows += each.num_rows
    part.replace(path)
    return rows


def save_rows(folder: Path, name: str, rows: list[dict[str, Any]], *by: str) -> int:
    """Write rows given one by one, sorted; text columns take anything else as JSON."""
    schema = TABLES[name].arrow
    texts = [each.name for each in schema if each.type == pa.string()]
    shown = [row | {key: _text(row.get(key)) for key in texts} for row in rows]
    shown.sort(key=lambda row: tuple((row[key] is not None, row[key]) for key in by))
    return save(folder, name, [pa.Table.from_pylist(shown, schema)])


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)
