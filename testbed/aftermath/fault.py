"""When the fault itself began and ended, and what was left of it."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aftermath import Stage, Step, Struck

_WORDS = {
    "began": "is in force", "ended": "ends", "healed": "is undone: state as before",
    "not-healed": "is not undone",
}  # fmt: skip


class Timeline(Stage):
    """The fault as the timeline wrote it down."""

    kind = "fault"

    def steps(self, struck: Struck) -> Iterator[Step]:
        """One for each phase."""
        for phase, t_ns, detail in struck.tables.sql(
            "select phase, t_ns, detail from events where fault = ? order by t_ns", struck.fault.id
        ):
            if phase in _WORDS and t_ns <= struck.until_ns:
                what = f"{struck.fault.kind} {_WORDS[phase]}"
                left = f": {detail}" if phase == "not-healed" and detail else ""
                yield Step(self.kind, t_ns, struck.fault.target, what + left)
