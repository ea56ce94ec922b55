"""A link that is struck delays packets as it did not before, or loses some."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_BEFORE_NS = 20_000_000_000
_CROSSED = """
    select "from", median(delay_ns), count(*), count(*) filter (lost), min(sent_ns)
    from hops where link = ? and sent_ns >= ? and sent_ns < ? group by "from"
"""
_CHANGED = 1.5  # a median this many times the old one, or the inverse, is a change and no chance


class Path(Stage):
    """Delay and loss over the links struck, before and while the fault is in force."""

    kind = "path"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each direction of a link that changed: the first packet that was slower, or lost."""
        for link in struck.links:
            spans = ((struck.at_ns - _BEFORE_NS, struck.at_ns), (struck.at_ns, struck.ended_ns))
            before, during = (
                {sender: rest for sender, *rest in struck.tables.sql(_CROSSED, link, *span)} for span in spans
            )
            for sender in sorted(before.keys() & during.keys()):
                (old_ns, _, old_lost, _), (new_ns, count, lost, _) = before[sender], during[sender]
                slower = bool(old_ns and new_ns and not 1 / _CHANGED < new_ns / old_ns < _CHANGED)
                if not slower and lost <= old_lost:
                    continue
                delay = f"delay {old_ns / 1e6:.3g} → {new_ns / 1e6:.3g} ms (median)" if slower else ""
                loss = f"{lost} of {count} packets lost" if lost > old_lost else ""
                first_ns = struck.tables.scalar(
                    'select min(sent_ns) from hops where link = ? and "from" = ? and sent_ns >= ?'
                    f" and {'delay_ns is not null' if slower else 'lost'}",
                    link, sender, struck.at_ns,
                )  # fmt: skip
                received_ns = struck.tables.scalar(
                    'select received_ns from hops where link = ? and "from" = ? and sent_ns = ?',
                    link, sender, first_ns,
                )  # fmt: skip
                sight = struck.sights("link = ? and t_ns = ?", link, received_ns) if received_ns else ()
                yield Step(
                    self.kind,
                    first_ns,
                    link,
                    f"from {sender}: {', '.join(filter(None, (delay, loss)))}",
                    sight,
                )
