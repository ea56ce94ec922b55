"""The doctor names what every venue lacks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from testbed import pipeline
from testbed.registry import kinds

if TYPE_CHECKING:
    from testbed.job import Job
    from testbed.venues import Lack, Venue


def diagnose(job: Job | None = None) -> dict[str, list[Lack]]:
    """What each venue found by the registry lacks on this machine; an empty list is a ready venue.

    With a job, also what its routing daemons lack.
    """
    found = {name: cast("Venue", venue()).lacks() for name, venue in kinds("venues").items()}
    return {name: pipeline.lacking(lacks, job) for name, lacks in found.items()}
