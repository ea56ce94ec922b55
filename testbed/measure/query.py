"""A finished run's tables are asked questions in SQL, read-only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import duckdb
import polars as pl
import pyarrow as pa

from testbed.job import Job
from testbed.measure.schema import TABLES


class QueryError(ValueError):
    """A query that DuckDB refuses; the message is DuckDB's."""


class Struck(Protocol):
    """What has a time: a fault of a scenario."""

    @property
    def at(self) -> int:
        """Nanoseconds after the scenario's start."""

    @property
    def lasts(self) -> int:
        """Nanoseconds from then to the end."""


# Payload seen for the first time, in bins of so many nanoseconds, a row for each that has any.
_GOODPUT = """
    create macro goodput(bin_ns) as table
    select (floor(t_ns / bin_ns) * bin_ns)::bigint as t_ns, flow_id, node, interface, src,
           sum(tcp_len)::bigint as bytes, sum(tcp_len) * 8e9 / bin_ns as rate_bps
    from packets where tcp_len > 0 and not retransmission group by all order by all
"""


class Tables:
    """The tables of a run, each a view of its Parquet file; one without a file is empty.

    A query may read these views and nothing else: no other file, no network, no setting. `goodput(bin_ns)`
    makes a table of the bytes that each sender of each TCP connection brought past each point. The column
    names `from` and `to` of hops are words of SQL and must be quoted: "from".
    """

    def __init__(self, run: Path, *, since_ns: int | None = None, until_ns: int | None = None) -> None:
        self.run = run
        self._since_ns, self._until_ns = since_ns, until_ns
        self._database = duckdb.connect(config={"python_enable_replacements": False})
        files = {name: str((run / "tables" / f"{name}.parquet").resolve()) for name in TABLES}
        files = {name: path for name, path in files.items() if Path(path).exists()}
        # With no access to files but these, views of them still work; COPY to them is refused below.
        self._database.execute("set allowed_paths = ?", [list(files.values())])
        self._database.execute("set enable_external_access = false")
        for name in TABLES:
            self._database.execute(f"create view {name} as {self._view(name, files.get(name))}")
        self._database.execute(_GOODPUT)
        self._database.execute("set lock_configuration = true")

    @cached_property
    def job(self) -> Job:
        """The job that the tables are of; OSError if they are of captures made elsewhere."""
        return Job.read(self.run)

    def _view(self, name: str, path: str | None) -> str:
        table = TABLES[name]
        if path is None:
            nulls = (f'null::{_kind(each.type)} as "{each.name}"' for each in table.arrow)
            return f"select {', '.join(nulls)} where false"
        bounds = []
        if table.time and self._since_ns is not None:
            bounds.append(f"{table.time} >= {int(self._since_ns)}")
        if table.time and self._until_ns is not None:
            bounds.append(f"{table.time} < {int(self._until_ns)}")
        quoted = path.replace("'", "''")
        return f"select * from read_parquet('{quoted}')" + (
            f" where {' and '.join(bounds)}" if bounds else ""
        )

    def sql(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows a query gives; `?` stands for the parameters in turn."""
        with _refusals():
            return self._asked(query, params).fetchall()

    def scalar(self, query: str, *params: object) -> Any:
        """The first value of the first row; None if there is no row."""
        rows = self.sql(query, *params)
        return rows[0][0] if rows else None

    def columns(self, query: str, *params: object) -> dict[str, list[Any]]:
        """The answer by column, in the order of the query."""
        return self.frame(query, *params).to_dict(as_series=False)

    def frame(self, query: str, *params: object) -> pl.DataFrame:
        """The answer as a polars frame; of columns of one name, the second is called name_2 and so on."""
        with _refusals():
            answered = self._asked(query, params).to_arrow_table()
        answer = pl.from_arrow(answered.rename_columns(_distinct(answered.column_names)))
        assert isinstance(answer, pl.DataFrame)
        # DuckDB sums integers to 128 bits, which Arrow only has as a decimal.
        return answer.with_columns(pl.col(pl.Decimal(38, 0)).cast(pl.Int128))

    def during(self, fault: Struck) -> Tables:
        """The same tables, limited to rows from the fault's start to its end.

        A row counts by its t_ns, sent_ns or start_ns; tables without one are whole.
        """
        return Tables(self.run, since_ns=int(fault.at), until_ns=int(fault.at) + int(fault.lasts))

    def before(self, fault: Struck) -> Tables:
        """The same tables, limited to rows before the fault's start."""
        return Tables(self.run, until_ns=int(fault.at))

    def after(self, fault: Struck) -> Tables:
        """The same tables, limited to rows after the fault's end."""
        return Tables(self.run, since_ns=int(fault.at) + int(fault.lasts))

    def _asked(self, query: str, params: tuple[object, ...]) -> duckdb.DuckDBPyRelation:
        statements = self._database.extract_statements(query)
        if len(statements) != 1:
            raise QueryError(f"{len(statements)} statements where one is due")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError(f"{statements[0].type.name} is not allowed: tables can only be read")
        return self._database.sql(query, params=list(params))


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, no two of them the same."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(n for n in numbered if n not in {*found, *names}))
    return found


def _kind(column: pa.DataType) -> str:
    """What DuckDB calls a type."""
    if pa.types.is_list(column):
        return f"{_kind(column.value_type)}[]"
    text = str(column)
    unsigned = {"uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger"}
    return unsigned.get(text, text)  # int32, int64, string, bool and double are names there, too


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
