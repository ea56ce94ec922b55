"""A direction of a link is shaped by two netem queues, one inside the other.

The outer one delays, jitters and loses; the inner one serialises at the rate, behind a queue of
exactly so many packets. One netem alone would hide the queueing time inside the delay (its rate
model starts a packet's serialisation at the departure of the last, and counts the delay only as
far as it reaches beyond that), and would count packets in flight against the queue's length.
netem orphans what it holds, so TCP small queues do not throttle a sender on its own shaped
interface, and an overflow of the inner queue is invisible to the sender's stack, as it is when a
modem drops.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import tcmsg
from pyroute2.netlink.rtnl.tcmsg import sched_netem

from testbed.emulate.netlink import NLM_F_CREATE, NLM_F_REPLACE, Netlink
from testbed.job import Shape

RTM_NEWQDISC, RTM_GETQDISC = 36, 38
_ROOT = 0xFFFFFFFF
_OUTER, _OUTER_CLASS, _INNER = 0x10000, 0x10001, 0x20000
_IN_FLIGHT = 1_000_000  # packets the outer queue may hold; memory is the only bound
_ALL = 0xFFFFFFFF  # netem's probabilities are shares of this
# netem lets packets overtake one another when jitter or a change makes a later one due first, unless
# it also has a rate; at this one, in bytes/s, a frame takes less than a nanosecond
_ORDERLY = 1 << 44


class NetemOptions(sched_netem.options):  # type: ignore[misc]
    """pyroute2's netem options and those of later kernels: times in ns (4.15) and the seed (6.7)."""

    nla_map = (
        *sched_netem.options.nla_map,
        ("TCA_NETEM_ECN", "uint32"),
        ("TCA_NETEM_RATE64", "uint64"),
        ("TCA_NETEM_PAD", "none"),
        ("TCA_NETEM_LATENCY64", "int64"),
        ("TCA_NETEM_JITTER64", "int64"),
        ("TCA_NETEM_SLOT", "none"),
        ("TCA_NETEM_SLOT_DIST", "none"),
        ("TCA_NETEM_PRNG_SEED", "uint64"),
    )

    class uint64(nla):  # type: ignore[misc]  # noqa: N801 - pyroute2's naming
        fields = (("value", "Q"),)
        value = "value"

    class int64(nla):  # type: ignore[misc]  # noqa: N801
        fields = (("value", "q"),)
        value = "value"


sched_netem.options = NetemOptions


def requests(index: int, shape: Shape, seed: int | None = None) -> list[tcmsg.tcmsg]:
    """The netlink requests that give interface `index` this shape, whatever it had before.

    `seed` starts the generator of losses and jitter; without one it goes on from where it is.
    """
    lost = shape.loss.parameters[0] if shape.loss else 0.0
    outer = {"limit": _IN_FLIGHT, "loss": min(round(lost * (_ALL + 1)), _ALL)}
    outer_attributes: list[tuple[str, Any]] = [
        ("TCA_NETEM_LATENCY64", shape.delay_ns),
        ("TCA_NETEM_JITTER64", shape.jitter_ns),
        *_rate(_ORDERLY),
    ]
    if seed is not None:
        outer_attributes.append(("TCA_NETEM_PRNG_SEED", seed))
    inner = {"limit": shape.queue_packets or 1000}
    return [
        _qdisc(index, _ROOT, _OUTER, outer, outer_attributes),
        _qdisc(index, _OUTER_CLASS, _INNER, inner, _rate((shape.rate_bps or 0) // 8)),
    ]


def _rate(bytes_per_s: int) -> list[tuple[str, Any]]:
    low = {"rate": min(bytes_per_s, _ALL), "packet_overhead": 0, "cell_size": 0, "cell_overhead": 0}
    return [("TCA_NETEM_RATE", low), ("TCA_NETEM_RATE64", bytes_per_s)]


def _qdisc(
    index: int, parent: int, handle: int, options: dict[str, Any], attributes: list[tuple[str, Any]]
) -> tcmsg.tcmsg:
    message = tcmsg.tcmsg()
    message["header"]["type"] = RTM_NEWQDISC
    message["header"]["flags"] = NLM_F_CREATE | NLM_F_REPLACE
    message["index"], message["parent"], message["handle"] = index, parent, handle
    plain = {"delay": 0, "limit": 0, "loss": 0, "gap": 0, "duplicate": 0, "jitter": 0}
    message["attrs"] = [("TCA_KIND", "netem"), ("TCA_OPTIONS", {**plain, **options, "attrs": attributes})]
    return message


_TCMSG = struct.Struct("=BBHiIII")  # family, padding, index, handle, parent, info
_ATTRIBUTE = struct.Struct("=HH")
_KIND, _OPTIONS, _STATS = 1, 2, 3
_STATS_FIELDS = struct.Struct("=QIIIIIII")  # bytes, packets, drops, overlimits, bps, pps, qlen, backlog


def configured(socket: Netlink) -> Iterator[tuple[int, int, str, str]]:
    """(interface, handle, kind, options) of every qdisc, as the kernel tells them."""
    for index, handle, attributes in _dump(socket):
        yield index, handle, attributes[_KIND].rstrip(b"\0").decode(), attributes.get(_OPTIONS, b"").hex()


def counters(socket: Netlink) -> dict[int, dict[str, int]]:
    """By interface: bytes, packets and drops of its whole shape, and the bytes queued now."""
    found: dict[int, dict[str, int]] = {}
    for index, handle, attributes in _dump(socket):
        if handle not in (_OUTER, _INNER):
            continue
        count, packets, drops, _, _, _, _, backlog = _STATS_FIELDS.unpack_from(attributes[_STATS])
        entry = found.setdefault(index, {})
        if handle == _OUTER:
            entry.update(bytes=count, packets=packets, drops=drops)
        else:
            entry["queue_bytes"] = backlog
    return found


def _dump(socket: Netlink) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    request = tcmsg.tcmsg()
    request["header"]["type"] = RTM_GETQDISC
    request["header"]["flags"] = 0
    for _, body in socket.dump(request):
        _, _, _, index, handle, _, _ = _TCMSG.unpack_from(body)
        yield index, handle, dict(_attributes(body[_TCMSG.size :]))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
