"""The doctor names what every venue lacks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from testbed import pipeline
from testbed.registry import kinds

if TYPE_CHECKING:
    from testbed.venues import Lack, Venue


def diagnose() -> dict[str, list[Lack]]:
    """What each venue found by the registry lacks on this machine; an empty list is a ready venue."""
    found = {name: cast("Venue", venue()).lacks() for name, venue in kinds("venues").items()}
    return {name: pipeline.completed(lacks) for name, lacks in found.items()}
