"""Tables are exported batch by batch, each file appearing under its name when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from testbed.exports import Progress
from testbed.measure.schema import TABLES

BATCH_ROWS = 64 * 1024


def batches(run: Path, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of a table in the types of its schema; none where the run has no such table."""
    path = run / "tables" / f"{name}.parquet"
    if not path.exists():
        return
    schema = TABLES[name].arrow
    with pq.ParquetFile(path) as file:
        there = [column for column in schema.names if column in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=there):
            table = pa.Table.from_batches([batch])
            for at, column in enumerate(schema.names):  # a run of an older version may lack some
                if column not in there:
                    table = table.add_column(at, column, pa.nulls(len(table), schema.field(column).type))
            yield from table.cast(schema).to_batches()


def written(into: Path, ending: str, save: Callable[[Path, str], int], progress: Progress) -> int:
    """Save every table in the folder `into`, and return how many rows they have together."""
    into.mkdir(parents=True, exist_ok=True)
    rows = 0
    for done, name in enumerate(TABLES):
        progress("tables", done, len(TABLES))
        part = into / f".{name}.part"
        rows += save(part, name)
        part.replace(into / f"{name}{ending}")
    return rows
