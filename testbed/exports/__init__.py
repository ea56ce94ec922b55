"""What a run recorded, in the formats of other programs: a file a format, found by the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

Progress = Callable[[str, float, float], None]


class Nothing(ValueError):
    """There is nothing to export; the message says what was looked for, and a hint follows "; "."""


class Export(ABC):
    """A format; its first docstring line says who reads it."""

    kind: ClassVar[str]
    ending: ClassVar[str]  # of the file; empty: a folder of files
    picks: ClassVar[bool] = False  # whether it can be limited to some capture points

    def __init__(self, at: Sequence[str] = ()) -> None:
        """`at` names capture points, nodes or links that it is limited to; empty, all."""
        self.at = at

    @abstractmethod
    def write(self, run: Path, into: Path, progress: Progress) -> int:
        """Write the run, and return how many packets, rows or events were written. Raises Nothing."""
