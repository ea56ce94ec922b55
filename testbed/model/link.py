"""What a link does to packets, in the words of a topology."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from testbed.model.document import Location
from testbed.model.fields import LineRate, Model, Probability
from testbed.model.link_words import AqmWord, JitterWord, LossWord, TraceWord
from testbed.units import Duration, Queue

MTU = 1500  # where nobody says
IPV6_LEAST = 1280  # RFC 8200, section 5; Linux takes IPv6 off an interface with less


class LinkSpec(Model):
    """What a packet meets on a link, in one direction or both; what is not said is as `defaults` has it."""

    rate: LineRate | None = Field(
        default=None, description="in bits from the Ethernet header on; without one there is no limit"
    )
    trace: TraceWord | None = Field(
        default=None,
        examples=["lte.down"],
        description="in place of a rate, a file of what a real link carried, relative to this one; it is "
        "repeated. Mahimahi's format, or CSV (`.csv`) with a header `time,rate`",
    )
    delay: Duration | None = Field(
        default=None, description="of the way itself; queueing and the rate add to it"
    )
    jitter: JitterWord | None = Field(
        default=None,
        examples=["{by: 2ms, distribution: normal, correlation: 25%}"],
        description="how the delay varies",
    )
    loss: LossWord | None = Field(
        default=None,
        examples=["{model: gilbert-elliott, mean: 1%, burst: 4}"],
        description="packets lost, each on its own or by a model",
    )
    duplicate: Probability | None = Field(
        default=None, examples=["0.1%"], description="packets that come twice"
    )
    reorder: Probability | None = Field(
        default=None, description="packets that are not delayed, and so overtake those before them"
    )
    corrupt: Probability | None = Field(
        default=None, examples=["0.01%"], description="packets in which one bit is flipped"
    )
    mtu: int | None = Field(
        default=None,
        ge=68,
        le=65535,
        examples=[1400],
        description="bytes of IP in a frame, at both ends; 1500 where nobody says",
    )
    queue: Queue | None = Field(
        default=None,
        description="what may wait for the line: packets, bytes, a time at the link's rate (of a trace, its "
        "mean), or multiples of the rate times the sum of both directions' delays (`1bdp`)",
    )
    aqm: AqmWord | None = Field(
        default=None,
        examples=["fq_codel", "{kind: red, min: 30kB, max: 90kB, probability: 2%}"],
        description="how the queue is managed; `fifo` where nobody says",
    )
    ecn: bool | None = Field(
        default=None, description="the AQM marks packets that can be marked, and drops the others"
    )

    def over(self, below: LinkSpec) -> LinkSpec:
        """What this says, laid over what `below` says, each word by itself; a trace and a rate are one."""
        laid: dict[str, Any] = {}
        for key in LinkSpec.model_fields:
            value = getattr(self, key)
            laid[key] = getattr(below, key) if value is None else value
        if self.rate is not None or self.trace is not None:
            laid |= {"rate": self.rate, "trace": self.trace}
        if self.jitter is not None and below.jitter is not None:
            laid["jitter"] = self.jitter.over(below.jitter)
        return LinkSpec.model_construct(**laid)


def specs(value: object, here: Location = ()) -> Iterator[tuple[Location, LinkSpec]]:
    """Every `LinkSpec` in a model, however deep, with its place in the document."""
    if isinstance(value, LinkSpec):
        yield here, value
    if isinstance(value, Model):
        for name, field in type(value).model_fields.items():
            yield from specs(getattr(value, name), (*here, field.alias or name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from specs(item, (*here, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from specs(item, (*here, place))
