"""`testbed query`: ask a run's tables in SQL."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import Annotated

import typer

from testbed import pipeline
from testbed.commands import options
from testbed.terminal import answer, records


class QueryFormat(StrEnum):
    """How the rows are printed."""

    table = "table"
    json = "json"
    csv = "csv"


def query(
    run: options.Run,
    sql: Annotated[str, typer.Argument(help="In DuckDB's dialect.", metavar="SQL")],
    out: options.Runs = options.RUNS,
    format: Annotated[
        QueryFormat, typer.Option("-f", "--format", help="Print for people, as JSON or CSV.")
    ] = (QueryFormat.table),
) -> None:
    """Ask the tables of a run in SQL.

    They are events, packets, flows, hops, links, bgp, dns, requests, steering, fill, playback, sessions and
    captures.
    Times are t_ns, nanoseconds since the scenario's start.

    Example: testbed query latest "select session_id, rebuffers, outcome from sessions"
    """
    from testbed.measure.tables import Tables

    frame = Tables(pipeline.find(run, out, holds=pipeline.PACKETS)).frame(sql)
    if format is QueryFormat.json:
        answer({"rows": frame.to_dicts()})
    elif format is QueryFormat.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(frame.columns)
        rows.writerows(frame.iter_rows())
    else:
        records(frame.columns, frame.iter_rows())
