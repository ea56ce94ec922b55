"""The rules of links that no word can tell by itself: with the defaults under it, a link must make sense."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.aqms import ALWAYS_MARKS
from testbed.model.breach import Breach
from testbed.model.document import Location, dotted
from testbed.model.link import IPV6_LEAST, MTU, LinkSpec, specs
from testbed.model.topology import Topology, Wire
from testbed.traces import ETHERNET_BYTES, mean_bps
from testbed.units import show_duration

_BYTES_MOST = 2**32 - 1

Way = tuple[Location, LinkSpec, int]  # where a direction is written, all it is told, both directions' delays


def breaches(topology: Topology) -> Iterator[Breach]:
    """Every rule that the links of a topology break."""
    for location, spec in specs(topology):
        if spec.rate is not None and spec.trace is not None:
            what = "a trace says the rate already"
            yield Breach((*location, "rate"), what, "delete rate, or trace", on_key=True)
        if spec.mtu is not None and location[-1] in ("forward", "backward"):
            yield Breach(
                (*location, "mtu"), "an MTU is of both directions", f"write it in {dotted(location[:-1])}"
            )
    for name, access in topology.access.items():
        if access.up.mtu and access.down.mtu and access.up.mtu != access.down.mtu:
            what = f"an MTU is of both directions, and down has {access.down.mtu}"
            yield Breach(("access", name, "up", "mtu"), what, "delete one of them")
    for location, whole, round_trip in _ways(topology):
        yield from _path(location, whole)
        yield from _line(location, whole, round_trip)
        if "ipv6" in topology.families and (whole.mtu or MTU) < IPV6_LEAST:
            hint = f"write at least {IPV6_LEAST}, or families: [ipv4]"
            yield Breach((*location, "mtu"), f"IPv6 does not run over an MTU of {whole.mtu}", hint)
    yield from _lans(topology)


def _ways(topology: Topology) -> Iterator[Way]:
    """Every direction that is told anything, the words of its link and the defaults laid under it."""
    below = topology.defaults.link
    for name, access in topology.access.items():
        yield from _both(("access", name), below, (("up", access.up), ("down", access.down)))
    for location, spec in specs(topology):
        if isinstance(spec, Wire):
            own = (("forward", spec.forward), ("backward", spec.backward))
            yield from _both(location, spec.over(below), own)
        elif location[0] not in ("access", "links"):
            whole = spec.over(below)
            yield location, whole, 2 * (whole.delay or 0)


def _both(here: Location, below: LinkSpec, own: tuple[tuple[str, LinkSpec | None], ...]) -> Iterator[Way]:
    wholes = [(direction, (spec or LinkSpec()).over(below), spec) for direction, spec in own]
    round_trip = sum(whole.delay or 0 for _, whole, _ in wholes)
    told = False
    for direction, whole, spec in wholes:
        if spec is not None:
            yield (*here, direction), whole, round_trip
        elif not told:  # both directions without words of their own are one
            told = True
            yield here, whole, round_trip


def _path(here: Location, whole: LinkSpec) -> Iterator[Breach]:
    delay = whole.delay or 0
    if whole.jitter is not None and whole.jitter.by_ns > delay:
        what = "the jitter is more than the delay, so packets would arrive before they are sent"
        yield Breach((*here, "jitter"), what, f"write jitter: of at most the delay, {show_duration(delay)}")
    if whole.reorder and not delay:
        what = "packets overtake those that are delayed, and none are here"
        yield Breach((*here, "reorder"), what, "write a delay, or delete reorder")


def _line(here: Location, whole: LinkSpec, round_trip: int) -> Iterator[Breach]:
    limited = whole.rate is not None or whole.trace is not None
    queue, aqm = whole.queue, whole.aqm.kind if whole.aqm else "fifo"
    frame = (whole.mtu or MTU) + ETHERNET_BYTES
    if queue is not None:
        if queue.packets is None and queue.size is None and not limited:
            what = f"a queue of {queue.shown()} needs a rate to have a length"
            yield Breach((*here, "queue"), what, "write a rate, or the queue in packets (200p)")
        elif queue.bdp is not None and not round_trip:
            what = f"a queue of {queue.shown()} needs a delay to have a length"
            yield Breach((*here, "queue"), what, "write a delay, or the queue in packets (200p)")
        elif queue.packets is None and queue.to_bytes(_rate(whole), round_trip, frame) > _BYTES_MOST:
            what = f"a queue of {queue.shown()} is more bytes here than the kernel can be told of"
            yield Breach((*here, "queue"), what, "write less than 4GiB")
        elif queue.size is not None and queue.size < frame:
            what = f"no packet of {frame} bytes fits into {queue.shown()}"
            yield Breach((*here, "queue"), what, f"write at least {frame}B")
    if aqm != "fifo" and not limited:
        what = f"without a rate nothing waits, and {aqm} has nothing to manage"
        yield Breach((*here, "aqm"), what, "write a rate or a trace")
    if whole.ecn and aqm == "fifo":
        hint = "write for example aqm: fq_codel, or ecn: false"
        yield Breach((*here, "ecn"), "a fifo drops, it cannot mark", hint)
    if whole.ecn is False and aqm in ALWAYS_MARKS:
        yield Breach((*here, "ecn"), f"{aqm} always marks what can be marked", "delete ecn, or write true")


def _rate(whole: LinkSpec) -> int:
    return mean_bps(whole.trace.trace) if whole.trace else int(whole.rate or 0)


def _lans(topology: Topology) -> Iterator[Breach]:
    """Nobody tells a sender that a bridge dropped what the next wire is too short for."""
    below = topology.defaults.link
    first: dict[str, tuple[str, int]] = {}
    ported: list[tuple[Location, list[str], LinkSpec]] = [
        (("links", place), wire.endpoints, wire) for place, wire in enumerate(topology.links)
    ]
    ported += [(("hosts", name), [host.at], host) for name, host in topology.hosts.items()]
    for location, ends, spec in ported:
        mtu = spec.over(below).mtu or MTU
        for end in ends:
            if topology.is_lan(end):
                lan = topology.segments.get(end, end)
                where, there = first.setdefault(lan, (f"{location[0]}.{location[1]}", mtu))
                if mtu != there:
                    what = f"all links of {end}'s LAN need one MTU, and {where} has {there}"
                    yield Breach((*location, "mtu"), what, f"write mtu: {there}, or change the other")
