"""The tables of a run as Parquet files in a folder, with the types that the tables' documentation names."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq

from testbed.exports import Export, Progress
from testbed.exports.tabular import batches, written
from testbed.measure.schema import TABLES


class Parquet(Export):
    """Spark, pandas, DuckDB, R and all else that reads Parquet."""

    kind = "parquet"
    ending: ClassVar = "-tables"

    def write(self, run: Path, into: Path, progress: Progress) -> int:
        """A file for each table, with its Arrow schema in it."""

        def save(path: Path, name: str) -> int:
            rows = 0
            with pq.ParquetWriter(path, TABLES[name].arrow, compression="zstd") as writer:
                for batch in batches(run, name):
                    writer.write_batch(batch)
                    rows += batch.num_rows
            return rows

        return written(into, ".parquet", save, progress)
