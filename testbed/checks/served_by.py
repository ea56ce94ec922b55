"""Who clients get their video from: the share of their bytes that came from some OCAs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from testbed.checks import Check, Verdict
from testbed.references import NodeName, PopulationName
from testbed.units import Duration, Share, show_duration

if TYPE_CHECKING:
    from testbed.measure.tables import Tables

_SENT = """select oca, sum(bytes) from requests
    where oca <> 'steering' and starts_with(client, ? || '.') and t_ns between ? and ?
    group by oca having sum(bytes) > 0 order by 2 desc, 1"""
_EVER = 2**63 - 1


@dataclass(kw_only=True)
class ServedBy(Check):
    """{kind: served-by, clients: north.homes, ocas: [oca-n1], from: 10s, to: 50s, min: 99%}

    Of the bytes of all requests that began in that time, as the clients counted them; the origin may be
    among the `ocas`. Give `min`, `max` or both; without `from` and `to` it is about all the time.
    """

    kind: ClassVar[str] = "served-by"

    clients: PopulationName
    ocas: tuple[NodeName, ...]
    from_: Duration | None = None
    to: Duration | None = None
    min: Share | None = None
    max: Share | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("it bounds nothing; give min, max or both")
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise ValueError(f"{self.to.shown()} is not after {self.from_.shown()}; write a later time as to")

    def judge(self, tables: Tables) -> Verdict:
        """Compare the share; unknown where the clients got nothing."""
        bounds = ((self.min, "at least"), (self.max, "at most"))
        shares = " and ".join(f"{word} {_shown(share)}" for share, word in bounds if share is not None)
        wanted = f"{shares} from {', '.join(self.ocas)}"
        since, until = int(self.from_ or 0), _EVER if self.to is None else int(self.to)
        sent = {oca: int(size) for oca, size in tables.sql(_SENT, self.clients, since, until)}
        total = sum(sent.values())
        if not total:
            return Verdict("unknown", "", wanted, f"{self.clients} got nothing in that time")
        share = sum(sent.get(oca, 0) for oca in self.ocas) / total
        low, high = 0 if self.min is None else self.min, 1 if self.max is None else self.max
        detail = f"{self.clients}, {_when(since, until)}: " + ", ".join(
            f"{oca} {_shown(size / total)}" for oca, size in sent.items()
        )
        return Verdict("pass" if low <= share <= high else "fail", _shown(share), wanted, detail)


def _when(since_ns: int, until_ns: int) -> str:
    return f"from {show_duration(since_ns)}" + ("" if until_ns == _EVER else f" to {show_duration(until_ns)}")


def _shown(share: float) -> str:
    return f"{share * 100:.4g}%"
