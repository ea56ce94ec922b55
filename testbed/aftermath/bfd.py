"""BFD hears nothing any more, long before BGP's hold time runs out, and says so (RFC 5880, RFC 5881)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.aftermath import Sight, Stage, Step, Struck
from testbed.measure.pcap import frame

_USUAL_NS = 10_000_000_000  # how long before the fault is looked at for what is usual
_PACKETS = "proto = 'udp' and dport in (3784, 4784)"
# What each end of each session sent last before the first gap that is no single interval; jitter takes up
# to a quarter off an interval (RFC 5880, 6.8.7). $1 from, $2 fault, $3 until.
_GAPS = f"""
    with heard as (
        select t_ns, link, src, dst,
               coalesce(lead(t_ns) over (partition by link, src, dst order by t_ns), $3) - t_ns as gap
        from packets where {_PACKETS} and t_ns >= $1 and t_ns < $3
    ), usual as (select link, src, dst, median(gap) as usual from heard where t_ns < $2 group by all)
    select link, src, dst, min(t_ns), arg_min(gap, t_ns) from heard join usual using (link, src, dst)
    where gap > 2 * usual and t_ns >= $2 - usual group by link, src, dst order by min(t_ns), link, src, dst
"""
_FIRST = f"""
    select link, src, dst, min(t_ns) from packets
    where {_PACKETS} and starts_with = ? and t_ns >= ? and t_ns < ? group by link, src, dst
"""
_REASONS = (  # by diagnostic code (RFC 5880, 4.1)
    "", "detection time expired", "echo function failed", "neighbour signalled session down",
    "forwarding plane reset", "path down", "concatenated path down", "administratively down",
    "reverse concatenated path down",
)  # fmt: skip


@dataclass(frozen=True)
class _Control:
    """What a control packet says of its sender (RFC 5880, 4.1)."""

    reason: str
    multiplier: int
    desired_tx_ns: int
    required_rx_ns: int

    @classmethod
    def of(cls, frame: bytes) -> _Control:
        """Read it from an Ethernet frame."""
        at = 12
        while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
        at += 2 + (40 if frame[at : at + 2] == b"\x86\xdd" else 4 * (frame[at + 2] & 15))
        said = frame[at + 8 : at + 32]
        code = said[0] & 31
        tx_us, rx_us = int.from_bytes(said[12:16]), int.from_bytes(said[16:20])
        return cls(
            reason=_REASONS[code] if code < len(_REASONS) else f"diagnostic {code}",
            multiplier=said[2], desired_tx_ns=tx_us * 1000, required_rx_ns=rx_us * 1000,
        )  # fmt: skip


class Bfd(Stage):
    """The last BFD packet before detection time ran out, the first that says Down, and the first Up again."""

    kind = "bfd"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each link, sender and receiver: sessions of both address families are told together."""
        # What comes after the scenario's end is the routers' own.
        until_ns = min(struck.until_ns, struck.job.duration_ns)
        found: dict[tuple[str, str, str], list[tuple[int, Sight]]] = {}

        def tell(link: str, src: str, text: str, t_ns: int, sight: Sight) -> None:
            found.setdefault((link, struck.names.get(src, src), text), []).append((t_ns, sight))

        silent = struck.tables.sql(_GAPS, struck.at_ns - _USUAL_NS, struck.at_ns, until_ns)
        for link, src, dst, last_ns, gap_ns in silent:
            sight, mine = self._last(struck, link, src, dst, last_ns)
            _, other = self._last(struck, link, dst, src, last_ns)
            if mine is None or sight is None:
                continue
            interval_ns = max(mine.desired_tx_ns, other.required_rx_ns if other else 0)
            detection_ns = mine.multiplier * interval_ns  # RFC 5880, 6.8.4
            if gap_ns > detection_ns:
                text = f"falls silent; {{}} detects that in {detection_ns / 1e6:g} ms"
                tell(link, src, text.format(struck.names.get(dst, dst)), max(last_ns, struck.at_ns), sight)
        down = struck.tables.sql(_FIRST, "bfd-down", struck.at_ns, until_ns)
        for link, src, dst, t_ns in down:
            sight, said = self._last(struck, link, src, dst, t_ns)
            if sight and said:
                reason = f": {said.reason}" if said.reason else ""
                tell(link, src, f"tells {struck.names.get(dst, dst)} that it is down{reason}", t_ns, sight)
            for again_link, *ends, up_ns in struck.tables.sql(_FIRST, "bfd-up", t_ns, until_ns):
                if (again_link, *ends) == (link, src, dst):
                    sight, _ = self._last(struck, link, src, dst, up_ns)
                    if sight:
                        tell(link, src, f"is up again with {struck.names.get(dst, dst)}", up_ns, sight)
        for (link, who, text), seen in found.items():
            seen.sort(key=lambda each: each[0])
            (first_ns, sight), (last_ns, _) = seen[0], seen[-1]
            yield Step(
                self.kind, first_ns, link, f"BFD of {who} {text}", (sight,), len(seen),
                last_ns if last_ns > first_ns else None,
            )  # fmt: skip

    @staticmethod
    def _last(
        struck: Struck, link: str, src: str, dst: str, until_ns: int
    ) -> tuple[Sight | None, _Control | None]:
        """The last packet from one end to the other until then, and what it says; None: there is none."""
        where = f"link = ? and src = ? and dst = ? and {_PACKETS} and t_ns <= ?"
        for sight in struck.sights(where, link, src, dst, until_ns, last=True):
            path = struck.tables.run / "captures" / f"{sight.capture}.pcap"
            return sight, _Control.of(frame(path, sight.frame))
        return None, None
