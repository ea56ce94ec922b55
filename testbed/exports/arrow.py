"""The tables of a run as Arrow IPC files in a folder, which open without being read (memory-mapped)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from testbed.exports import Export, Progress
from testbed.exports.tabular import batches, written
from testbed.measure.schema import TABLES


class Arrow(Export):
    """polars, pandas, R, Julia and all else that reads Arrow or Feather."""

    kind = "arrow"
    ending: ClassVar = "-tables"

    def write(self, run: Path, into: Path, progress: Progress) -> int:
        """A file for each table, one record batch for each row group."""

        def save(path: Path, name: str) -> int:
            rows = 0
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, TABLES[name].arrow) as writer:
                for batch in batches(run, name):
                    writer.write_batch(batch)
                    rows += batch.num_rows
            return rows

        return written(into, ".arrow", save, progress)
