"""Every connection of a run has one number, the same at every capture point.

A TCP connection is its two endpoints and the initial sequence number of the SYN that opened it, so
that one which reuses the ports of an earlier one is another. Where a capture point saw neither that
SYN nor its answer, the packets belong to the connection that was opened last, anywhere, before the
first of them was seen. A UDP flow is its two endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from testbed.measure.capture import Capture
from testbed.measure.native import SUMMARY

_PAIR = ("proto", "low", "high")


@dataclass(frozen=True)
class Connections:
    """The connections of a run, and what each capture's own numbers mean."""

    table: pl.DataFrame  # by flow_id, from 1: proto, and client and server with their ports
    numbers: list[npt.NDArray[np.uint32]]  # for each capture, flow_id by its own number; 0 is no flow

    def clients(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
        """Address number and port of each connection's client, by flow_id; entry 0 is no flow."""
        none = np.zeros(1, np.uint32)
        address = np.concatenate([none, self.table["client"].to_numpy()])
        port = np.concatenate([none, self.table["client_port"].to_numpy()])
        return address.astype(np.uint32), port.astype(np.uint16)


def connections(captures: Sequence[Capture], codes: Sequence[npt.NDArray[np.uint32]]) -> Connections:
    """Number the connections of some captures in the order in which they were first seen.

    `codes` has for each capture what its address numbers are in the run.
    """
    seen = pl.concat(
        [
            _seen(np.empty(0, SUMMARY), np.empty(0, np.uint32), 0),
            *(_seen(each.summaries, codes[number], number) for number, each in enumerate(captures)),
        ]
    )
    opened = _first(seen.filter(pl.col("isn") >= 0), [*_PAIR, "isn"])
    unsure = seen.filter(pl.col("isn") < 0).sort("t_ns", maintain_order=True)
    before = opened.select(*_PAIR, "t_ns", opened_isn="isn").sort("t_ns", maintain_order=True)
    unsure = unsure.join_asof(before, on="t_ns", by=list(_PAIR), check_sortedness=False)
    older = _first(unsure.filter(pl.col("opened_isn").is_null()).drop("opened_isn"), [*_PAIR, "isn"])
    every = pl.concat([opened, older]).sort("t_ns", "capture", "local").with_row_index("flow_id", offset=1)
    known = pl.concat(
        [
            seen.filter(pl.col("isn") >= 0).select("capture", "local", *_PAIR, "isn"),
            unsure.select("capture", "local", *_PAIR, isn=pl.coalesce("opened_isn", "isn")),
        ]
    ).join(every.select("flow_id", *_PAIR, "isn"), on=[*_PAIR, "isn"], how="left")
    numbers = []
    for number, each in enumerate(captures):
        mine = known.filter(pl.col("capture") == number)
        numbers.append(np.zeros(len(each.summaries) + 1, np.uint32))
        numbers[-1][mine["local"].to_numpy()] = mine["flow_id"].to_numpy()
    table = every.select(
        "flow_id",
        "proto",
        client=pl.col("client") // 65536,
        client_port=pl.col("client") % 65536,
        server=pl.col("server") // 65536,
        server_port=pl.col("server") % 65536,
    )
    return Connections(table, numbers)


def _seen(rows: npt.NDArray[np.void], codes: npt.NDArray[np.uint32], number: int) -> pl.DataFrame:
    """What a capture saw of each connection; endpoints are numbers made of address and port."""
    client = codes[rows["src"]].astype(np.int64) << 16 | rows["sport"]
    server = codes[rows["dst"]].astype(np.int64) << 16 | rows["dport"]
    return pl.DataFrame(
        {
            "capture": np.full(len(rows), number),
            "local": np.arange(1, len(rows) + 1),
            "proto": rows["proto"],
            "low": np.minimum(client, server),
            "high": np.maximum(client, server),
            "isn": rows["isn"],
            "t_ns": rows["first_ns"],
            "client": client,
            "server": server,
        }
    )


def _first(seen: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Of what agrees in `by` what was seen first; ties go to the first capture."""
    return seen.sort(*by, "t_ns", "capture", "local").unique(by, keep="first", maintain_order=True)
