"""A direction's shape is laid together from the topology's defaults, the link's words and the direction's."""

from __future__ import annotations

import dataclasses

from testbed import traces
from testbed.impairments import change, room
from testbed.job import Shape, Trace
from testbed.model.fields import Model
from testbed.model.link import MTU, LinkSpec, specs


def shapes(
    below: LinkSpec, spec: LinkSpec, forward: LinkSpec | None = None, backward: LinkSpec | None = None
) -> tuple[Shape, Shape]:
    """Both directions' shapes, forward first; `below` are the topology's defaults.

    A queue in bandwidth-delay products is of the direction's rate and both directions' delays.
    """
    there, back = ((own or LinkSpec()).over(spec).over(below) for own in (forward, backward))
    round_trip_ns = (there.delay or 0) + (back.delay or 0)
    return _shape(there, round_trip_ns), _shape(back, round_trip_ns)


def collect(topology: Model) -> dict[str, Trace]:
    """The traces that a topology's links name, by the names that their shapes have."""
    found = (spec.trace for _, spec in specs(topology) if spec.trace is not None)
    return {file.name: file.trace for file in found}


def _shape(whole: LinkSpec, round_trip_ns: int) -> Shape:
    words = ("rate", "delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "aqm", "ecn")
    said = {word: getattr(whole, word) for word in words}
    shape = Shape(**change(trace=whole.trace.name if whole.trace else None, **said))
    if whole.queue is None:
        return shape
    rate_bps = traces.mean_bps(whole.trace.trace) if whole.trace else shape.rate_bps or 0
    frame_bytes = (whole.mtu or MTU) + traces.ETHERNET_BYTES
    return dataclasses.replace(shape, **room(whole.queue, rate_bps, round_trip_ns, frame_bytes))  # type: ignore[arg-type]
