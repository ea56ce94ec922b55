"""What a link does to packets, in the words of a topology."""

from __future__ import annotations

from testbed.model.fields import Loss, Model, SomeRate
from testbed.units import Duration, Queue


class LinkSpec(Model):
    """What a packet meets on a link; what is not said is as `defaults` has it."""

    rate: SomeRate | None = None
    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Loss | None = None
    queue: Queue | None = None

    def over(self, below: LinkSpec) -> LinkSpec:
        """What this says, laid over what `below` says."""
        said = {key: getattr(self, key) for key in LinkSpec.model_fields}
        return LinkSpec.model_construct(
            **{key: getattr(below, key) if value is None else value for key, value in said.items()}
        )
