"""A direction's shape is laid together from the topology's defaults, the link's words and the direction's."""

from __future__ import annotations

import dataclasses

from testbed.job import Loss, Shape
from testbed.model.link import LinkSpec


def shapes(
    below: LinkSpec, spec: LinkSpec, forward: LinkSpec | None = None, backward: LinkSpec | None = None
) -> tuple[Shape, Shape]:
    """Both directions' shapes, forward first; `below` are the topology's defaults."""
    return _shape(below, spec, forward), _shape(below, spec, backward)


def _shape(*specs: LinkSpec | None) -> Shape:
    said: dict[str, object] = {}
    for spec in specs:
        if spec is not None:
            said |= {
                key: getattr(spec, key) for key in LinkSpec.model_fields if getattr(spec, key) is not None
            }
    whole = LinkSpec.model_validate(said)
    shape = Shape(
        rate_bps=int(whole.rate) if whole.rate is not None else None,
        delay_ns=int(whole.delay or 0), jitter_ns=int(whole.jitter or 0),
        loss=Loss(parameters=(float(whole.loss),)) if whole.loss else None,
    )  # fmt: skip
    if whole.queue is None:
        return shape
    return dataclasses.replace(shape, queue_packets=whole.queue.to_packets(shape.rate_bps or 10**10))
