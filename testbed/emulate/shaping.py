"""A direction of a link is shaped by three queueing disciplines, one inside the other.

netem is the path: it delays, jitters, loses, copies, damages and lets overtake. What comes out of it
meets our own `line` (testbed/kernel/sch_line.c), which serialises it at a rate or as a trace has it,
and behind the line's head the queue waits, plain or managed. netem orphans what it holds, so TCP small
queues do not throttle a sender on its own shaped interface, and an overflow of the queue is invisible
to the sender's stack, as it is when a modem drops.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Mapping

from testbed import namespaces
from testbed.emulate import attributes, line, path, queues
from testbed.emulate.netlink import NLM_F_CREATE, NLM_F_REPLACE, Netlink, NetlinkError, Request, attribute
from testbed.job import Shape, Trace

RTM_NEWQDISC, RTM_GETQDISC = 36, 38
_ROOT = 0xFFFFFFFF
_PATH, _PATH_CLASS, _LINE, _LINE_CLASS = 0x10000, 0x10001, 0x20000, 0x20001
_LOOPBACK = 1
_TCMSG = struct.Struct("=BBHiIII")  # family, padding, index, handle, parent, info
_KIND, _OPTIONS, _STATS, _STATS2 = 1, 2, 3, 7
_STATS_APP = 4  # of TCA_STATS2: what only this kind of qdisc counts
_STATS_FIELDS = struct.Struct("=QIIIIIII")  # bytes, packets, drops, overlimits, bps, pps, qlen, backlog


def requests(
    index: int,
    shape: Shape,
    seed: int | None = None,
    traces: Mapping[str, Trace] | None = None,
    start_ns: int | None = None,
) -> list[Request]:
    """The netlink requests that give interface `index` this shape, whatever it had before.

    `seed` starts the generator that all draws come from; without one it goes on from where it is.
    Without `traces` a line that follows a trace keeps the one it has; `start_ns` is the Unix time at which
    it begins. Packets that wait go on waiting, unless the queue becomes one of another kind. ValueError
    for what a shape cannot be, KeyError for a trace that is not in `traces`.
    """
    kind = queues.kind(shape)
    return [
        _request(index, _ROOT, _PATH, "netem", path.options(shape, seed)),
        *(
            _request(index, _PATH_CLASS, _LINE, "line", options)
            for options in line.messages(shape, traces, start_ns)
        ),
        _request(index, _LINE_CLASS, queues.HANDLES[kind], kind, queues.options(shape)),
    ]


def _request(index: int, parent: int, handle: int, kind: str, *options: bytes) -> Request:
    body = _TCMSG.pack(0, 0, 0, index, handle, parent, 0) + attribute(_KIND, kind.encode() + b"\0")
    body += b"".join(attribute(_OPTIONS, some) for some in options)
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, f"{kind} on interface {index}")


def configured(socket: Netlink) -> Iterator[tuple[int, int, str, str]]:
    """(interface, handle, kind, options) of every qdisc, as the kernel tells them."""
    for index, handle, found in _dump(socket):
        yield index, handle, _name(found), found.get(_OPTIONS, b"").hex()


def counters(socket: Netlink) -> dict[int, dict[str, int]]:
    """By interface: bytes, packets and drops of its whole shape, and the bytes that wait for its line now.

    `marks` are the packets that the queue management marked (ECN), `aqm_drops` those it dropped before
    its queue was full.
    """
    counted: dict[int, dict[str, int]] = {}
    for index, handle, found in _dump(socket):
        name = _name(found)
        if handle not in (_PATH, _LINE, queues.HANDLES.get(name)):
            continue
        count, packets, drops, _, _, _, _, backlog = _STATS_FIELDS.unpack_from(found[_STATS])
        entry = counted.setdefault(index, {"marks": 0, "aqm_drops": 0})
        if handle == _PATH:
            entry.update(bytes=count, packets=packets, drops=drops)
        elif handle == _LINE:
            entry["queue_bytes"] = backlog
        else:
            details = dict(attributes.unpacked(found[_STATS2])).get(_STATS_APP, b"")
            entry["marks"], entry["aqm_drops"] = queues.counted(name, drops, details)
    return counted


def mismatches(
    socket: Netlink, wanted: Mapping[int, Shape], traces: Mapping[str, Trace] | None = None
) -> list[str]:
    """What the kernel has otherwise than `wanted`, by interface: a sentence for each value.

    All that is configured is compared but the distribution of a jitter, which the kernel does not tell, and,
    of RED, avpkt and burst, of which it keeps only the weight of the average that follows from them.
    """
    found: dict[int, dict[str, tuple[str, bytes]]] = {}
    for index, handle, said in _dump(socket):
        name = _name(said)
        place = {_PATH: "path", _LINE: "line", queues.HANDLES.get(name): "queue"}.get(handle)
        if place:
            found.setdefault(index, {})[place] = (name, said.get(_OPTIONS, b""))
    return [
        f"interface {index}: {difference}"
        for index, shape in wanted.items()
        for difference in _differences(shape, found.get(index, {}), traces or {})
    ]


def _differences(
    shape: Shape, found: Mapping[str, tuple[str, bytes]], traces: Mapping[str, Trace]
) -> Iterator[str]:
    kind = queues.kind(shape)
    for place, name in (("path", "netem"), ("line", "line"), ("queue", kind)):
        has, options = found.get(place, ("nothing", b""))
        if has != name:
            yield f"the {place} should be {name}, and the kernel has {has}"
            continue
        if place == "path":
            should, does = path.read(path.options(shape)), path.read(options)
        elif place == "line":
            should, does = line.wanted(shape, traces), line.read(options)
        else:
            should, does = queues.wanted(shape), queues.read(kind, options)
        for value in should:
            if should[value] != does[value]:
                yield f"{name}'s {value} should be {should[value]}, and the kernel has {does[value]}"


def lacking(shapes: Iterable[Shape]) -> list[str]:
    """The queueing disciplines that these shapes need and the running kernel does not have."""
    kinds = dict.fromkeys(("netem", "line", *(queues.kind(shape) for shape in shapes)))
    with namespaces.returning() as here:
        os.close(namespaces.create(here))  # it goes with the socket
        socket = Netlink()
    try:
        return [kind for kind in kinds if not _has(socket, kind)]
    finally:
        socket.close()


def _has(socket: Netlink, kind: str) -> bool:
    """Whether the kernel knows a qdisc of this kind; the namespace's loopback interface may get one."""
    try:
        socket.ask(_request(_LOOPBACK, _ROOT, _PATH, kind))
    except NetlinkError as error:
        return error.errno != errno.ENOENT
    return True


def _name(found: Mapping[int, bytes]) -> str:
    return found[_KIND].rstrip(b"\0").decode()


def _dump(socket: Netlink) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    for _, body in socket.dump(Request(RTM_GETQDISC, 0, _TCMSG.pack(0, 0, 0, 0, 0, 0, 0), "the qdiscs")):
        _, _, _, index, handle, _, _ = _TCMSG.unpack_from(body)
        yield index, handle, dict(attributes.unpacked(body[_TCMSG.size :]))
