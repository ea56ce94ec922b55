"""A scenario as one may write it: who plays what, what breaks when, and what must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, Strict

from testbed.checks import Check
from testbed.faults import Fault
from testbed.model.captures import Captures
from testbed.model.cdn import Fill
from testbed.model.fields import Model, Name, SomeRate, SomeTime
from testbed.model.kinds import OneOf
from testbed.model.probes import Probes
from testbed.model.workload import OneOfWorkload, Playback
from testbed.refusal import Wrong
from testbed.traffic import Traffic
from testbed.units import Duration

_SAMPLE_LEAST = Duration.parse("1ms")


def _sample(sample: Duration) -> Duration:
    if sample < _SAMPLE_LEAST:
        raise Wrong(f"{sample.shown()} is too often", f"write at least {_SAMPLE_LEAST.shown()}")
    return sample


class TitleSpec(Model):
    """A video: generated from `length`, `segment` and `bitrates`, or read from `file`, or real `media`."""

    file: Annotated[Path, Strict(False)] | None = Field(None, description="sizes of a real video's segments")
    media: Annotated[Path, Strict(False)] | None = Field(
        None, examples=["clip/"],
        description="a folder of real video, a file a bitrate (`750.mp4`: H.264, one index before its "
        "segments), which servers really send and a browser can play by its `manifest.mpd`",
    )  # fmt: skip
    length: SomeTime | None = Field(None, description="of the video; with a file, where it is cut")
    segment: SomeTime | None = Field(None, description="how much video is in a segment")
    bitrates: list[SomeRate] = Field(
        default_factory=list, description="rising; the player chooses among them"
    )


class Scenario(Model):
    """A topology, what happens in it, and what must hold."""

    name: Name = Field(examples=["oca-crash"])
    topology: str = Field(examples=["../topologies/metro.yaml"], description="path relative to this file")
    duration: SomeTime = Field(examples=["180s"])
    seed: int = Field(1, ge=0, lt=2**63)
    titles: dict[Name, TitleSpec] = Field(default_factory=dict)
    content: dict[str, list[str]] = Field(
        default_factory=dict, examples=["{oca-n1: [film]}"],
        description="the titles that an OCA holds at the start; one that is not named here holds all",
    )  # fmt: skip
    fill: Fill | None = Field(None, examples=["{windows: [{at: 0s, lasts: 60s}]}"])
    workload: list[Annotated[Playback | Traffic, OneOfWorkload("traffic", Traffic)]] = Field(
        default_factory=list
    )
    faults: list[Annotated[Fault, OneOf("faults", Fault)]] = Field(default_factory=list)
    captures: Captures = "all"
    probes: Probes | None = Field(
        None,
        examples=["{every: 20ms}"],
        description="packets that show who reaches a prefix, and when",
    )
    checks: list[Annotated[Check, OneOf("checks", Check)]] = Field(default_factory=list)
    sample: Annotated[Duration, AfterValidator(_sample)] = Field(
        Duration.parse("1s"), description="how often the queues' counters are read"
    )

    @property
    def playbacks(self) -> list[tuple[int, Playback]]:
        """Who plays what, each with its place in the workload."""
        return [(place, each) for place, each in enumerate(self.workload) if isinstance(each, Playback)]

    @property
    def traffic(self) -> list[tuple[int, Traffic]]:
        """What else goes on, each with its place in the workload."""
        return [(place, each) for place, each in enumerate(self.workload) if isinstance(each, Traffic)]
