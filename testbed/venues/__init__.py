"""A venue is where a run happens: it takes a whole job and fills a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from testbed.job import Job

Progress = Callable[[str, float, float], None]  # stage, done, of: ("virtual time", 12.0, 180.0)


@dataclass(frozen=True)
class Lack:
    """Something a venue needs and does not find, and the command that mends it."""

    what: str
    fix: str


class VenueError(RuntimeError):
    """A run that did not finish; `evidence` is the end of the console log."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.evidence = evidence


class Venue(Protocol):
    """Where runs happen."""

    kind: ClassVar[str]
    width: int  # runs it holds at once

    def lacks(self) -> list[Lack]:
        """What is missing here; empty when a run can start."""

    def run(self, job: Job, into: Path, progress: Progress) -> None:
        """Fill `into` (which holds job.json) with captures, logs, events.jsonl and guest.json.

        Whether or not it went well, what was recorded stays in `into` and nothing else is left
        behind. VenueError says why a run did not finish; KeyboardInterrupt passes through after
        cleaning up.
        """
