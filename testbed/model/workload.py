"""What goes on in a network as one may write it: who plays what, and what else is on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, model_validator

from testbed.abrs import Abr
from testbed.abrs.bba import Bba
from testbed.arrivals import Arrivals
from testbed.model.fields import Model, Name, SomeRate, SomeTime
from testbed.model.kinds import OneOf, OrName
from testbed.refusal import Wrong
from testbed.units import Duration, Share


@dataclass(frozen=True)
class OneOfArrivals(OneOf):
    """As any kind of arrivals; one that does not name its kind is `every`."""

    def read(self, value: object, info: ValidationInfo) -> Any:
        """The arrivals."""
        if isinstance(value, dict) and "kind" not in value:
            value = {"kind": "every", **value}
        return super().read(value, info)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = super().__get_pydantic_json_schema__(schema, handler)
        for option in found["oneOf"]:
            if option["properties"]["kind"]["const"] == "every":
                option["required"] = [key for key in option["required"] if key != "kind"]
        return found


class Step(Model):
    """Something the viewer does; `at` counts from the session's start."""

    at: Duration = Field(examples=["20s"])
    pause: SomeTime | None = Field(None, description="stand still for so long", examples=["5s"])
    seek: Duration | None = Field(None, description="go on at this position of the title", examples=["90s"])
    leave: Literal[True] | None = Field(None, description="stop watching")

    @model_validator(mode="after")
    def _one(self) -> Step:
        if sum(each is not None for each in (self.pause, self.seek, self.leave)) != 1:
            raise Wrong("does one thing", "write one of pause: 5s, seek: 90s, leave: true")
        return self


class Watch(Model):
    """How long viewers stay, from the session's start; drawn for each."""

    mean: SomeTime = Field(examples=["60s"])
    distribution: Literal["exponential", "lognormal", "fixed"] = "exponential"
    sigma: float = Field(1.0, gt=0, description="lognormal: standard deviation of the logarithm")


class Live(Model):
    """The title comes into being as it is watched, from the scenario's zero on."""

    latency: SomeTime = Field(examples=["10s"], description="how far behind the edge viewers begin")


class Pace(Model):
    """Players ask servers to send no faster than some times the title's top bitrate, by their buffer."""

    empty: float = Field(3.0, ge=1, le=1000, strict=False, description="times it with an empty buffer")
    full: float = Field(
        1.5, ge=1, le=1000, strict=False, description="times it with a full one; a line between"
    )


class Catalogue(Model):
    """Each session plays a title of these, the first the most popular (Zipf's law)."""

    titles: list[str] = Field(examples=["[film, clip]"])
    zipf: float = Field(0.8, ge=0, description="the n-th is chosen in proportion to 1 / n to this power")


class Device(Model):
    """A share of the sessions, and in what it differs from the others."""

    share: Share = Field(examples=["30%"])
    name: Name = Field("device", examples=["phone"])
    abr: Annotated[Abr, OrName("abrs", Abr)] | None = Field(None)
    buffer: SomeTime | None = None
    max_bitrate: SomeRate | None = Field(None, examples=["750kbit"])


class Playback(Model):
    """Clients of a population play a title."""

    kind: Literal["playback"] = Field(examples=["playback"])
    clients: str = Field(examples=["north.homes"], description="a population, as <isp>.<population>")
    title: str | None = Field(None, examples=["film"], description="this or a catalogue")
    catalogue: Catalogue | None = None
    arrivals: Annotated[Arrivals, OneOfArrivals("arrivals", Arrivals)] = Field(examples=["{every: 1s}"])
    abr: Annotated[Abr, OrName("abrs", Abr)] = Field(Bba(), description="how the player chooses its bitrate")
    buffer: SomeTime = Field(
        Duration.parse("30s"), description="the player stops fetching at this much video"
    )
    startup: SomeTime = Field(Duration.parse("2s"), description="playback starts at this much video")
    resume: SomeTime | None = Field(
        None, description="after a stall it goes on at this much; as at the start where nobody says"
    )
    timeout: SomeTime = Field(
        Duration.parse("4s"), description="a request with no byte for so long has failed"
    )
    give_up: SomeTime = Field(
        Duration.parse("30s"), description="a viewer who has waited so long while nothing worked leaves"
    )
    slow: SomeTime | None = Field(
        None, description="a segment not whole after so long is asked of the next OCA", examples=["12s"]
    )
    max_bitrate: SomeRate | None = Field(None, description="of the device", examples=["750kbit"])
    probe: bool = Field(
        default=False, description="ask all OCAs of the list for a little, and take the quickest"
    )
    http: Literal["1.1", "2"] = Field("1.1", description="2: where the OCA offers it")
    tls: Literal["1.2", "1.3"] = Field("1.3", description="the newest that the device speaks")
    pace: Pace | None = Field(
        None, examples=["{empty: 3, full: 1.5}"], description="asked for with each segment, as in Sammy"
    )
    live: Live | None = None
    watch: Watch | None = None
    script: list[Step] = Field(default_factory=list, description="what each viewer does, by time")
    mix: list[Device] = Field(
        default_factory=list, description="devices of this population; what is left of 100% is as above"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Playback:
        if (self.title is None) == (self.catalogue is None):
            raise Wrong(
                "plays either a title or a catalogue", "write title: film, or catalogue: {titles: [film]}"
            )
        if sum(device.share for device in self.mix) > 1 + 1e-9:
            raise Wrong("is a mix of more than 100%", "write shares that add up to 100% at most")
        return self

    @property
    def titles(self) -> list[str]:
        """What may be played."""
        return [self.title] if self.title is not None else self.catalogue.titles if self.catalogue else []


@dataclass(frozen=True)
class OneOfWorkload(OneOf):
    """Playback, or any kind of background traffic."""

    def read(self, value: object, info: ValidationInfo) -> Any:
        """The playback, or the dataclass of the kind."""
        if isinstance(value, Playback):
            return value
        if isinstance(value, dict) and value.get("kind", "playback") == "playback":
            return Playback.model_validate(value, context=info.context)
        return super().read(value, info)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        kinds = super().__get_pydantic_json_schema__(schema, handler)
        playback = handler.resolve_ref_schema(handler(Playback.__pydantic_core_schema__))
        return {"oneOf": [playback, *kinds["oneOf"]]}
