"""Probe flows as one may write them: how often, towards which prefixes, and from where."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from testbed.faults import Fault, Prefix
from testbed.model.bgp import Prefixes
from testbed.model.breach import Breach, absent
from testbed.model.fields import Model, SomeTime
from testbed.model.topology import Topology
from testbed.refusal import Wrong
from testbed.units import Duration

_LEAST = Duration.parse("1ms")


def _every(time: Duration) -> Duration:
    if time < _LEAST:
        raise Wrong(f"{time.shown()} is too often", f"write at least {_LEAST.shown()}")
    return time


class Probes(Model):
    """A small UDP packet again and again from every network towards each prefix."""

    every: Annotated[SomeTime, AfterValidator(_every)] = Field(default=Duration.parse("100ms"))
    to: Prefixes | None = Field(
        default=None,
        min_length=1,
        examples=["[10.1.64.0/22]"],
        description="to an address in each of these that no node has; those that faults name if not given",
    )
    from_: list[str] | None = Field(
        default=None,
        alias="from",
        min_length=1,
        examples=["[north.core]"],
        description="routers; the first of every network if not given",
    )

    def prefixes(self, faults: Iterable[Fault]) -> list[str]:
        """The prefixes that are probed, in order, each once."""
        return list(dict.fromkeys(_named(faults) if self.to is None else self.to))


def breaches(probes: Probes | None, faults: Iterable[Fault], topology: Topology | None) -> Iterator[Breach]:
    """What probes name and there is not."""
    if probes is None:
        return
    if not probes.prefixes(faults):
        what = "no fault names a prefix that could be probed"
        yield Breach(("probes",), what, "write to: and a list of prefixes", on_key=True)
    for place, router in enumerate(probes.from_ or ()):
        if topology is not None and router not in topology.routers:
            said = absent("router", router, topology.routers, "write a router")
            yield Breach(("probes", "from", place), *said)


def _named(faults: Iterable[Fault]) -> Iterator[str]:
    """The prefixes among the parameters of faults."""
    for fault in faults:
        for parameter, hint in typing.get_type_hints(type(fault)).items():
            if any(Prefix in typing.get_args(each) for each in (hint, *typing.get_args(hint))):
                yield from getattr(fault, parameter) or ()
