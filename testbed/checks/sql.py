"""Whatever else one can ask of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed.checks import Check, Verdict

if TYPE_CHECKING:
    from testbed.measure.tables import Tables


@dataclass(kw_only=True)
class Sql(Check):
    """{kind: sql, query: "select count(*) from sessions where outcome = 'error'", equals: 0}

    The query (DuckDB) gives one row of one value; a null, no row or an error is unknown. Give
    `equals`, or `min`, `max` or both.
    """

    kind: ClassVar[str] = "sql"

    query: str
    equals: int | float | str | bool | None = None
    min: int | float | None = None
    max: int | float | None = None

    def __post_init__(self) -> None:
        if self.equals is None and self.min is None and self.max is None:
            raise ValueError("it compares with nothing; give equals, min or max")
        if self.equals is not None and (self.min is not None or self.max is not None):
            raise ValueError("give equals, or min and max, not both")

    def judge(self, tables: Tables) -> Verdict:
        """Compare the one value that the query gives."""
        wanted = " and ".join(
            f"{words} {bound}"
            for words, bound in (("equal to", self.equals), ("at least", self.min), ("at most", self.max))
            if bound is not None
        )
        rows = tables.sql(self.query)
        if len(rows) != 1 or len(rows[0]) != 1:
            shape = f"{len(rows)} rows" + (f" of {len(rows[0])} values" if rows else "")
            return Verdict("unknown", "", wanted, f"the query gave {shape}, not one value")
        value = rows[0][0]
        if value is None:
            return Verdict("unknown", "", wanted, "the query gave null")
        kept = (
            (self.equals is None or value == self.equals)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
        )
        return Verdict("pass" if kept else "fail", str(value), wanted, " ".join(self.query.split()))
