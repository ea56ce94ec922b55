"""The buffer-based algorithm by its short name: BBA-0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.abrs.bba_0 import Bba0


@dataclass(frozen=True, kw_only=True)
class Bba(Bba0):
    """{kind: bba, reservoir: 37.5%, upper: 90%}

    See bba-0: the two are the same.
    """

    kind: ClassVar[str] = "bba"
