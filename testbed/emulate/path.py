"""What becomes of a packet on its way, as netem is told it: delay, jitter, loss, copies, overtaking, damage.

Probabilities are shares of 2**32 which netem compares with a draw, some with "less than" and some with
"at most"; both are met here to the last bit. Numbers and layouts: linux/pkt_sched.h. tc-netem(8).
"""

from __future__ import annotations

import struct

from testbed.emulate import attributes, distributions
from testbed.emulate.netlink import attribute
from testbed.job import Loss, Shape

_CORRELATIONS, _DISTRIBUTION, _REORDER, _CORRUPT, _LOSS, _RATE, _RATE64 = 1, 2, 3, 4, 5, 6, 8
_LATENCY64, _JITTER64, _SEED = 10, 11, 14
_FOUR_STATES, _GILBERT_ELLIOTT = 1, 2
_FIXED = struct.Struct("=6I")  # latency, limit, loss, gap, duplicate, jitter
_IN_FLIGHT = 1_000_000  # packets on the way at once; memory is the only bound
_ALL = 0xFFFFFFFF
_MOST_JITTER_NS = 0x7FFFFFFF  # netem takes more for this
# netem lets packets overtake one another when jitter or a change makes a later one due first, unless
# it also has a rate; at this one, in bytes/s, a frame takes less than a nanosecond
_ORDERLY = 1 << 44


def options(shape: Shape, seed: int | None = None) -> bytes:
    """The options of netem for a shape; ValueError for what netem cannot do.

    `seed` starts the generator that all draws come from; without one it goes on from where it is.
    """
    if shape.jitter_ns > _MOST_JITTER_NS:
        raise ValueError(
            f"a jitter of {shape.jitter_ns} ns is more than netem's {_MOST_JITTER_NS} ns (2.1 s)"
        )
    gap = 1 if shape.reorder else 0  # every packet may overtake
    lost = shape.loss.parameters[0] if shape.loss and shape.loss.model == "random" else 0.0
    parts = [
        _FIXED.pack(0, _IN_FLIGHT, _at_most(lost), gap, _at_most(shape.duplicate), 0),
        attributes.packed(_LATENCY64, "q", shape.delay_ns),
        attributes.packed(_JITTER64, "q", shape.jitter_ns),
        attribute(
            _DISTRIBUTION,
            distributions.table(shape.jitter_distribution) if shape.jitter_ns else distributions.NONE,
        ),
        attributes.packed(_CORRELATIONS, "3I", _at_most(shape.jitter_correlation), 0, 0),
        attributes.packed(_REORDER, "2I", _at_most(shape.reorder), 0),
        attributes.packed(_CORRUPT, "2I", _at_most(shape.corrupt), 0),
        attributes.packed(_RATE, "I3i", _ALL, 0, 0, 0),
        attributes.packed(_RATE64, "Q", _ORDERLY),
    ]
    if shape.loss and shape.loss.model != "random":
        parts.append(attribute(_LOSS, _chain(shape.loss)))
    if seed is not None:
        parts.append(attributes.packed(_SEED, "Q", seed))
    return b"".join(parts)


def read(options: bytes) -> dict[str, object]:
    """What the options of netem say, by what is configured; the distribution of the jitter cannot be read."""
    _, limit, lost, gap, duplicate, _ = _FIXED.unpack_from(options)
    found = dict(attributes.unpacked(options[_FIXED.size :]))
    reorder, _ = struct.unpack("=2I", found[_REORDER])
    corrupt, _ = struct.unpack("=2I", found[_CORRUPT])
    correlation, _, _ = struct.unpack("=3I", found[_CORRELATIONS])
    loss = ["random", _share(lost)]
    for kind, data in attributes.unpacked(found.get(_LOSS, b"")):
        model = "4-state" if kind == _FOUR_STATES else "gilbert-elliott"
        loss = [model, *(value / (_ALL + 1) for (value,) in struct.iter_unpack("=I", data))]
    return {
        "packets in flight": limit,
        "delay_ns": struct.unpack("=q", found[_LATENCY64])[0],
        "jitter_ns": struct.unpack("=q", found[_JITTER64])[0],
        "jitter_correlation": _share(correlation),
        "loss": loss,
        "duplicate": _share(duplicate),
        "reorder": _share(reorder) if gap else 0.0,
        "corrupt": _share(corrupt),
    }


def _chain(loss: Loss) -> bytes:
    if loss.model == "gilbert-elliott":
        p, r, bad, good = loss.parameters
        # of the bad state netem is told what is not lost, and loses what draws more than that
        return attributes.packed(
            _GILBERT_ELLIOTT, "4I", _below(p), _below(r), max(_ALL - round(bad * (_ALL + 1)), 0), _below(good)
        )
    if loss.model == "4-state":
        p13, p31, p32, p23, p14 = (_below(share) for share in loss.parameters)
        return attributes.packed(_FOUR_STATES, "5I", p13, p31, p32, p14, p23)
    raise ValueError(f"{loss.model} is no model of loss; write random, gilbert-elliott or 4-state")


def _at_most(share: float) -> int:
    """What a share is where netem compares with "at most", and takes 0 for never."""
    return min(max(round(share * (_ALL + 1)) - 1, 1 if share else 0), _ALL)


def _below(share: float) -> int:
    """What a share is where netem compares with "less than"."""
    return min(round(share * (_ALL + 1)), _ALL)


def _share(at_most: int) -> float:
    return (at_most + 1) / (_ALL + 1) if at_most else 0.0
