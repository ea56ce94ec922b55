"""What holds the packets that wait for a line: a plain queue or an active queue management.

Every option is sent, the kernel's own default where a link says nothing, so that what was changed for a
while goes back, and every one is read back. Numbers and layouts: linux/pkt_sched.h.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from testbed.aqms import AQM_OPTIONS
from testbed.emulate import attributes
from testbed.emulate.netlink import attribute
from testbed.job import Shape

_FULL_PACKET = 1514  # bytes, where a queue's length must be told in the other unit
_FULL_PACKET_IN_MEMORY = 2304  # bytes (SKB_TRUESIZE of such a packet), which is what cake counts
_QUEUE_PACKETS = 1000  # where a shape has neither unit
_NS_PER_US = 1000
_NEVER = 2_199_023_255  # µs; CODEL_DISABLED_THRESHOLD, which is not told back
_ALL = 0xFFFFFFFF


def _same(value: int) -> int:
    return value


def _codel_time(us: int) -> int:
    """CoDel counts in 1024 ns."""
    return ((us * _NS_PER_US >> 10) << 10) // _NS_PER_US


def _ticks(us: int) -> int:
    """The packet schedulers' own clock counts in 64 ns."""
    return ((us * _NS_PER_US >> 6) << 6) // _NS_PER_US


def _jiffies(us: int) -> int:
    """Timers go in whole ms (HZ is 1000)."""
    return -(-us // 1000) * 1000


@dataclass(frozen=True)
class _Setting:
    """An option as the kernel takes it: a number of 32 bits under an attribute."""

    attribute: int
    default: int
    ns: int = 1  # the job's units in one of the kernel's
    kept: Callable[[int], int] = _same  # what the kernel makes of a number


_LIMIT, _ECN = "queue", "ecn"  # told by the shape itself
_SETTINGS = {
    "fq_codel": {
        "target": _Setting(1, 5_000, _NS_PER_US, _codel_time),
        _LIMIT: _Setting(2, 10_240),
        "interval": _Setting(3, 100_000, _NS_PER_US, _codel_time),
        _ECN: _Setting(4, 0),
        "flows": _Setting(5, 1_024),
        "quantum": _Setting(6, _FULL_PACKET, kept=lambda value: max(value, 256)),
        "ce_threshold": _Setting(7, _NEVER, _NS_PER_US, _codel_time),
        "drop_batch": _Setting(8, 64, kept=lambda value: max(value, 1)),
        "memory_limit": _Setting(9, 32 << 20),
    },
    "codel": {
        "target": _Setting(1, 5_000, _NS_PER_US, _codel_time),
        _LIMIT: _Setting(2, 1_000),
        "interval": _Setting(3, 100_000, _NS_PER_US, _codel_time),
        _ECN: _Setting(4, 0),
        "ce_threshold": _Setting(5, _NEVER, _NS_PER_US, _codel_time),
    },
    "pie": {
        "target": _Setting(1, 15_000, _NS_PER_US, _ticks),
        _LIMIT: _Setting(2, 1_000),
        "tupdate": _Setting(3, 15_000, _NS_PER_US, _jiffies),
        "alpha": _Setting(4, 2),
        "beta": _Setting(5, 20),
        _ECN: _Setting(6, 0),
    },
    "cake": {
        "rtt": _Setting(7, 100_000, _NS_PER_US, lambda value: max(value, 1)),
        _LIMIT: _Setting(10, 0),
    },
}
_CAKE_TARGET, _CAKE_TARGETS_AN_RTT = 8, 20  # as tc has it

# A handle for each kind has one take another's place, and one of the same kind be changed in place.
HANDLES = {
    "pfifo": 0x30000,
    "bfifo": 0x40000,
    "fq_codel": 0x50000,
    "codel": 0x60000,
    "pie": 0x70000,
    "red": 0x80000,
    "cake": 0x90000,
}


def kind(shape: Shape) -> str:
    """The kernel's name for a shape's queue; ValueError if it is no queue management we know."""
    if shape.aqm == "fifo":
        return "pfifo" if shape.queue_bytes is None else "bfifo"
    if shape.aqm not in AQM_OPTIONS:
        raise ValueError(f"{shape.aqm} is no queue management; write {', '.join(AQM_OPTIONS)}")
    return shape.aqm


def options(shape: Shape) -> bytes:
    """The options of a shape's queue; ValueError for an option that it does not have."""
    name = kind(shape)
    if unknown := sorted(shape.aqm_options.keys() - AQM_OPTIONS[shape.aqm].keys()):
        has = ", ".join(AQM_OPTIONS[shape.aqm]) or "none"
        raise ValueError(f"{shape.aqm} has no option {unknown[0]}; it has {has}")
    if name in ("pfifo", "bfifo"):
        return struct.pack("=I", _limit(shape))
    if name == "red":
        return _red(shape)
    data = b""
    for option, value in _told(shape).items():
        data += attributes.packed(_SETTINGS[name][option].attribute, "I", value)
        if option == "rtt":
            data += attributes.packed(_CAKE_TARGET, "I", max(value // _CAKE_TARGETS_AN_RTT, 1))
    return data


def read(name: str, options: bytes) -> dict[str, object]:
    """What the options of a queue of this kind say, in the kernel's units."""
    if name in ("pfifo", "bfifo"):
        return {_LIMIT: struct.unpack_from("=I", options)[0]}
    found = dict(attributes.unpacked(options))
    if name == "red":
        limit, least, most, weight, _, _, flags = struct.unpack("=3I4B", found[_RED_PARAMETERS])
        (probability,) = struct.unpack("=I", found[_RED_PROBABILITY])
        return {
            _LIMIT: limit, "min": least, "max": most, "weight of the average (log2)": -weight,
            "probability": probability / (_ALL + 1), _ECN: flags & _RED_ECN,
        }  # fmt: skip
    settings = _SETTINGS.get(name, {})
    return {
        option: struct.unpack("=I", found[setting.attribute])[0] if setting.attribute in found else _NEVER
        for option, setting in settings.items()
    }


def wanted(shape: Shape) -> dict[str, object]:
    """What `read` gives of a shape's queue."""
    name = kind(shape)
    if name not in _SETTINGS:
        return read(name, options(shape))
    settings = _SETTINGS[name]
    return {
        option: value if value == _NEVER else settings[option].kept(value)
        for option, value in _told(shape).items()
    }


def counted(name: str, drops: int, details: bytes) -> tuple[int, int]:
    """(packets marked, packets that the management dropped by itself), from TCA_STATS and TCA_STATS_APP.

    cake drops from its fattest flow when it is full, and does not tell that apart.
    """
    if name == "fq_codel":
        _, _, overlimit, marked, _, _, _, threshold = struct.unpack_from("=8I", details)
        return marked + threshold, drops - overlimit
    if name == "codel":
        overlimit, marked, _, threshold = struct.unpack_from("=4I", details, 20)
        return marked + threshold, drops - overlimit
    if name == "pie":
        dropped, overlimit, _, marked = struct.unpack_from("=4I", details, 24)
        return marked, dropped - overlimit
    if name == "red":
        early, _, _, marked = struct.unpack_from("=4I", details)
        return marked, early
    if name == "cake":
        tins = dict(attributes.unpacked(details)).get(_CAKE_TINS, b"")
        found = [dict(attributes.unpacked(tin)) for _, tin in attributes.unpacked(tins)]
        marks, lost = (
            sum(int.from_bytes(tin[which], "little") for tin in found)
            for which in (_CAKE_MARKED, _CAKE_DROPPED)
        )
        return marks, lost
    return 0, 0


_CAKE_TINS, _CAKE_DROPPED, _CAKE_MARKED = 10, 4, 8


def _limit(shape: Shape) -> int:
    """The queue's length in the unit that its kind counts in."""
    name = kind(shape)
    if name in ("bfifo", "red", "cake"):
        packet = _FULL_PACKET_IN_MEMORY if name == "cake" else _FULL_PACKET
        packets = _QUEUE_PACKETS if shape.queue_packets is None else shape.queue_packets
        return min(shape.queue_bytes or packets * packet, _ALL)
    if shape.queue_bytes is not None:
        return min(max(-(-shape.queue_bytes // _FULL_PACKET), 1), _ALL)
    return min(shape.queue_packets or _QUEUE_PACKETS, _ALL)


def _told(shape: Shape) -> dict[str, int]:
    """Every option of a management of the common form, in the kernel's units."""
    said: dict[str, int] = {_LIMIT: _limit(shape), _ECN: int(shape.ecn)}
    settings = _SETTINGS[shape.aqm]
    for option, value in shape.aqm_options.items():
        said[option] = round(value / settings[option].ns)
    return {option: said.get(option, setting.default) for option, setting in settings.items()}


_RED_PARAMETERS, _RED_TABLE, _RED_PROBABILITY, _RED_ECN = 1, 2, 3, 1
_RED_AVPKT, _RED_SHARE, _RED_RATE_BPS = 1_000, 0.02, 10_000_000  # tc-red(8)


def _red(shape: Shape) -> bytes:
    """RED's options, with tc's defaults for what is not said: Floyd's advice of 1997, in tc-red(8)."""
    given, limit = shape.aqm_options, _limit(shape)
    most = int(given.get("max", 3 * given["min"] if "min" in given else limit // 4))
    least = int(given.get("min", most // 3))
    packet = int(given.get("avpkt", _RED_AVPKT))
    burst = int(given.get("burst", (2 * least + most) // (3 * packet)))
    probability = given.get("probability", _RED_SHARE)
    if not 0 < least < most <= limit:
        raise ValueError(
            f"red needs min < max <= the queue's length, not {least}, {most} and {limit} bytes; "
            "write a longer queue, or min and max"
        )
    weight = _red_weight(least, burst, packet)
    cells, table = _red_idling(weight, packet, shape.rate_bps or _RED_RATE_BPS)
    return b"".join([
        attributes.packed(
            _RED_PARAMETERS, "3I4B", limit, least, most, weight, 0, cells, _RED_ECN if shape.ecn else 0
        ),
        attribute(_RED_TABLE, table),
        attributes.packed(_RED_PROBABILITY, "I", min(max(int(probability * (_ALL + 1)), 1), _ALL)),
    ])  # fmt: skip


def _red_weight(least: int, burst: int, packet: int) -> int:
    """The average's weight W = 2**-n that lets a burst of so many packets pass an empty queue.

    burst + 1 - min/avpkt <= (1 - (1 - W)**burst) / W (Floyd and Jacobson 1993, section 6).
    """
    room = burst + 1 - least / packet
    for weight in range(1, 32):
        if 1 <= room <= (1 - (1 - 2.0**-weight) ** burst) * 2**weight:
            return weight
    raise ValueError(
        f"red: a burst of {burst} packets of {packet} bytes does not go with a min of {least} bytes; "
        f"write a burst of at least {-(-least // packet)}"
    )


def _red_idling(weight: int, packet: int, rate_bps: int) -> tuple[int, bytes]:
    """How far the average falls on an idle line: a table of halvings, by idle time in units of 2**n µs.

    In the time of one packet it falls by 1 - W, so after t µs by t * -log2(1 - W) / (µs a packet)
    halvings; 31 of them empty it (include/net/red.h).
    """
    a_us = -math.log2(1 - 2.0**-weight) * rate_bps / (packet * 8 * 1_000_000)
    cells = max(math.ceil(math.log2(31 / a_us / 255)), 0)
    steps = [min(int((step << cells) * a_us), 31) for step in range(255)]
    return min(cells, 31), bytes([*steps, 31])
