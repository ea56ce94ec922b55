"""What is asked of the kernel's queueing disciplines, read with pyroute2's own decoders where it has them."""

import dataclasses
import math
import statistics
import struct
import zlib
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl import tcmsg

from testbed import aqms
from testbed.emulate import attributes, distributions, line, path, queues, shaping
from testbed.emulate.netlink import NLM_F_CREATE, NLM_F_REPLACE
from testbed.job import Loss, Shape, Trace

MS = 1_000_000
TRACE = Trace(period_ns=10 * MS, times_ns=(MS, 3 * MS, 3 * MS))
RATES = Trace(period_ns=10 * MS, times_ns=(0, 4 * MS), rates_bps=(8_000, 0))


def decoded(shape, seed=None, **said):
    """(parent, handle, kind, options) of each request for a shape."""
    found = []
    for request in shaping.requests(7, shape, seed, **said):
        assert request.number == 36
        assert request.flags == NLM_F_CREATE | NLM_F_REPLACE
        message = tcmsg.tcmsg(struct.pack("=IHHII", len(request.body) + 16, 36, 0, 0, 0) + request.body)
        message.decode()
        assert message["index"] == 7
        raw = dict(attributes.unpacked(request.body[20:]))[2]
        found.append((message["parent"], message["handle"], message.get_attr("TCA_KIND"), raw, message))
    return found


def netem(shape, seed=None):
    """(fixed fields, attributes by name, bytes by number) of a shape's netem."""
    raw, message = decoded(shape, seed)[0][3:]
    options = message.get_attr("TCA_OPTIONS")
    return options, dict(options["attrs"]), dict(attributes.unpacked(raw[24:]))


def test_a_path_leads_to_a_line_and_the_line_serves_a_queue():
    outer, inner, queue = decoded(Shape(rate_bps=20_000_000, queue_packets=50))
    assert outer[:3] == (0xFFFFFFFF, 0x10000, "netem")
    assert inner[:3] == (outer[1] + 1, 0x20000, "line")
    assert queue[0] == inner[1] + 1
    assert queue[2:4] == ("pfifo", struct.pack("=I", 50))


def test_the_path_delays_loses_and_draws_from_its_seed():
    shape = Shape(
        delay_ns=10_000_001, jitter_ns=1_500, jitter_correlation=0.25, loss=Loss(parameters=(0.01,))
    )
    fixed, named, raw = netem(shape, seed=99)
    assert fixed["loss"] / 2**32 == pytest.approx(0.01, abs=1e-9)
    assert struct.unpack("=q", raw[10]) == (10_000_001,)
    assert struct.unpack("=q", raw[11]) == (1_500,)
    assert struct.unpack("=Q", raw[14]) == (99,)
    assert named["TCA_NETEM_CORR"]["delay_corr"] == 2**30 - 1
    assert raw[2] == bytes(2)


def test_a_change_goes_on_with_the_generator_it_has():
    assert 14 not in netem(Shape(loss=Loss(parameters=(0.5,))))[2]


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (1e-12, 1), (0.5, 2**31 - 1), (1.0, 2**32 - 1)])
def test_netem_compares_with_at_most(share, drawn):
    fixed, named, _ = netem(
        Shape(loss=Loss(parameters=(share,)), duplicate=share, reorder=share, corrupt=share)
    )
    assert fixed["loss"] == fixed["duplicate"] == drawn
    assert named["TCA_NETEM_REORDER"]["prob_reorder"] == named["TCA_NETEM_CORRUPT"]["prob_corrupt"] == drawn
    assert fixed["gap"] == (share > 0)


def test_losses_in_bursts_are_netems_chains():
    bursts = Loss(model="gilbert-elliott", parameters=(0.01, 0.25, 1.0, 0.0))
    fixed, _, raw = netem(Shape(loss=bursts))
    ((kind, values),) = attributes.unpacked(raw[5])
    assert kind == 2
    assert struct.unpack("=4I", values) == (round(0.01 * 2**32), 2**30, 0, 0)
    assert fixed["loss"] == 0
    states = Loss(model="4-state", parameters=(0.125, 0.25, 0.5, 0.75, 0.0625))
    ((kind, values),) = attributes.unpacked(netem(Shape(loss=states))[2][5])
    assert kind == 1
    assert [value / 2**32 for value in struct.unpack("=5I", values)] == [0.125, 0.25, 0.5, 0.0625, 0.75]


def test_what_netem_cannot_do_is_refused():
    with pytest.raises(ValueError, match="2147483648 ns is more than netem's"):
        shaping.requests(7, Shape(jitter_ns=2**31))
    with pytest.raises(ValueError, match="write uniform, normal"):
        shaping.requests(7, Shape(jitter_ns=1, jitter_distribution="cauchy"))
    with pytest.raises(ValueError, match="no model of loss"):
        shaping.requests(7, Shape(loss=Loss(model="sometimes")))


@pytest.mark.parametrize("name", ["normal", "pareto", "paretonormal"])
def test_a_distribution_has_its_mean_and_deviation(name):
    table = struct.unpack("=4096h", distributions.table(name))
    assert list(table) == sorted(table)
    assert abs(statistics.fmean(table)) < 1
    assert statistics.pstdev(table) == pytest.approx(8192, rel=1e-3)


@pytest.mark.parametrize("name", ["normal", "pareto", "paretonormal"])
def test_a_distribution_has_the_shape_of_tcs(name):
    theirs = next(iter(Path("/usr/lib").glob(f"**/tc/{name}.dist")), None)
    if theirs is None:
        pytest.skip("needs iproute2's tables (apt-get install iproute2)")
    lines = theirs.read_text().splitlines()
    wanted = sorted(int(word) for text in lines if not text.startswith("#") for word in text.split())
    ours = struct.unpack("=4096h", distributions.table(name))
    assert len(wanted) == len(ours)
    # theirs was cut off and left so: the same but for where its middle and how wide it is
    assert statistics.correlation(wanted, ours) > 0.99


def test_a_line_without_a_rate_is_told_none():
    assert dict(attributes.unpacked(decoded(Shape())[1][3]))[2] == bytes(8)


def test_rates_beyond_32_bits_are_kept():
    raw = dict(attributes.unpacked(decoded(Shape(rate_bps=100_000_000_000))[1][3]))
    assert struct.unpack("=Q", raw[2]) == (100_000_000_000,)
    assert raw[4] == bytes(16)  # and no trace


def test_a_trace_is_announced_sent_in_pieces_and_in_force_with_the_last():
    long = Trace(period_ns=10_000 * MS, times_ns=tuple(range(10_000)))
    announced, *pieces = line.messages(Shape(trace="t"), {"t": long}, start_ns=-5)
    assert dict(attributes.unpacked(announced)) == {4: struct.pack("=QII", 10_000 * MS, 10_000, 0)}
    assert len(pieces) == 3
    assert max(map(len, pieces)) < 32_000
    found = [dict(attributes.unpacked(piece)) for piece in pieces]
    assert b"".join(piece[5] for piece in found) == struct.pack("=10000Q", *range(10_000))
    assert [sorted(piece) for piece in found] == [[5], [5], [2, 3, 5]]
    assert struct.unpack("=q", found[-1][3]) == (-5,)
    assert len(decoded(Shape(trace="t"), traces={"t": long})) == 6


def test_a_trace_of_rates_has_times_and_then_rates():
    announced, piece = line.messages(Shape(trace="t"), {"t": RATES})
    assert dict(attributes.unpacked(announced))[4] == struct.pack("=QII", 10 * MS, 2, 1)
    assert dict(attributes.unpacked(piece))[5] == struct.pack("=4Q", 0, 4 * MS, 8_000, 0)


def test_a_trace_that_is_not_sent_again_can_be_given_its_start():
    assert line.messages(Shape(trace="t")) == [b""]
    assert dict(attributes.unpacked(line.messages(Shape(trace="t"), start_ns=9)[0])) == {
        3: struct.pack("=q", 9)
    }
    with pytest.raises(KeyError, match="other"):
        shaping.requests(7, Shape(trace="other"), traces={"t": TRACE})


@pytest.mark.parametrize(
    ("shape", "kind", "limit"),
    [
        (Shape(), "pfifo", 1_000),
        (Shape(queue_packets=None), "pfifo", 1_000),
        (Shape(queue_packets=None, queue_bytes=4_000), "bfifo", 4_000),
        (Shape(aqm="codel", queue_packets=70), "codel", 70),
        (Shape(aqm="fq_codel", queue_packets=None, queue_bytes=15_141), "fq_codel", 11),
        (Shape(aqm="pie", queue_packets=None, queue_bytes=10), "pie", 1),
        (Shape(aqm="red", queue_packets=100), "red", 151_400),
        (Shape(aqm="red", queue_packets=None, queue_bytes=90_000), "red", 90_000),
        (Shape(aqm="cake", queue_packets=100), "cake", 230_400),
        (Shape(aqm="cake", queue_packets=None, queue_bytes=90_000), "cake", 90_000),
    ],
)
def test_a_queues_length_is_told_in_the_unit_of_its_kind(shape, kind, limit):
    _, handle, found, raw, _ = decoded(shape)[2]
    assert (handle, found) == (queues.HANDLES[kind], kind)
    assert queues.read(kind, raw)["queue"] == limit == queues.wanted(shape)["queue"]


OPTIONS = {"duration": 7 * MS, "size": 30_000, "share": 0.25, "count": 40}
OTHERWISE = {"avpkt": 800, "burst": 90}


@pytest.mark.parametrize(
    ("aqm", "option", "unit"),
    [(aqm, option, unit) for aqm, units in aqms.AQM_OPTIONS.items() for option, unit in units.items()],
)
def test_every_option_that_may_be_written_changes_what_is_asked(aqm, option, unit):
    plain = Shape(aqm=aqm, queue_packets=200)
    shape = dataclasses.replace(plain, aqm_options={option: OTHERWISE.get(option, OPTIONS[unit])})
    assert queues.options(shape) != queues.options(plain)
    if aqm != "red":
        ((changed, value),) = queues.wanted(shape).items() - queues.wanted(plain).items()
        assert changed == option
        assert value == pytest.approx(OPTIONS[unit] / (1_000 if unit == "duration" else 1), rel=1e-3)


@pytest.mark.parametrize("aqm", [aqm for aqm in aqms.AQM_OPTIONS if aqm not in ("fifo", *aqms.ALWAYS_MARKS)])
def test_ecn_is_asked_for(aqm):
    assert queues.wanted(Shape(aqm=aqm, ecn=True))["ecn"] == 1
    assert queues.wanted(Shape(aqm=aqm))["ecn"] == 0


def test_options_that_a_management_does_not_have_are_refused():
    with pytest.raises(ValueError, match="pie has no option interval; it has target, tupdate, alpha, beta"):
        shaping.requests(7, Shape(aqm="pie", aqm_options={"interval": MS}))
    with pytest.raises(ValueError, match="fifo has no option target; it has none"):
        shaping.requests(7, Shape(aqm_options={"target": MS}))
    with pytest.raises(ValueError, match="sfb is no queue management; write fifo, fq_codel"):
        shaping.requests(7, Shape(aqm="sfb"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min": 30_000, "max": 20_000}, "min < max"),
        ({"max": 200_000}, "longer queue"),
        ({"min": 30_000, "max": 90_000, "burst": 20}, "burst of at least 30"),
    ],
)
def test_red_says_what_does_not_go_together(options, says):
    with pytest.raises(ValueError, match=says):
        queues.options(Shape(aqm="red", queue_packets=100, aqm_options=options))


def test_reds_numbers_are_those_of_its_page():
    """As in the example of tc-red(8), on a line of 10 Mbit/s."""
    shape = Shape(
        aqm="red", queue_packets=None, queue_bytes=400_000,
        aqm_options={"min": 30_000, "max": 90_000, "burst": 55},
    )  # fmt: skip
    found = dict(attributes.unpacked(queues.options(shape)))
    limit, least, most, weight, _, cells, _ = struct.unpack("=3I4B", found[1])
    assert (limit, least, most, weight) == (400_000, 30_000, 90_000, 5)
    assert struct.unpack("=I", found[3])[0] / 2**32 == pytest.approx(0.02)
    table = found[2]
    assert len(table) == 256
    assert list(table) == sorted(table)
    assert table[-1] == 31
    # after the time of 100 packets at 10 Mbit/s, 800 µs each, the average has fallen by (1 - W) ** 100
    assert table[80_000 >> cells] == int(-math.log2(1 - 2**-5) * 100 * (80_000 >> cells << cells) / 80_000)


class FakeSocket:
    """Answers a dump: (index, handle, kind, options, bytes, packets, drops, backlog, its own counts) each."""

    def __init__(self, *found):
        self.found = found

    def dump(self, request):
        assert request.number == 38
        for index, handle, kind, options, count, packets, drops, backlog, own in self.found:
            stats2 = attributes.packed(1, "I", 0) + shaping.attribute(4, own)
            yield 36, b"".join([
                struct.pack("=BBHiIII", 0, 0, 0, index, handle, 0, 0),
                shaping.attribute(1, kind.encode() + b"\0"),
                shaping.attribute(2, options),
                shaping.attribute(7, stats2),
                attributes.packed(3, "QIIIIIII", count, packets, drops, 0, 0, 0, 0, backlog),
            ])  # fmt: skip


CODEL = struct.pack("=4IiIIII", 1_514, 1, 1, 9, 0, 5, 30, 0, 4)  # 5 for want of room, 34 marked


def test_counters_join_path_line_and_queue():
    socket = FakeSocket(
        (3, 0x10000, "netem", b"", 9_000, 6, 22, 4_000, b""),
        (3, 0x20000, "line", b"", 9_000, 6, 21, 1_514, b""),
        (3, 0x60000, "codel", b"", 9_000, 6, 20, 1_514, CODEL),
        (4, 0x10000, "netem", b"", 1, 1, 0, 0, b""),
        (4, 0x20000, "line", b"", 1, 1, 0, 0, b""),
        (4, 0x30000, "pfifo", b"", 1, 1, 0, 0, b""),
        (1, 0, "noqueue", b"", 1, 1, 0, 0, b""),
    )
    assert shaping.counters(socket) == {
        3: {"bytes": 9_000, "packets": 6, "drops": 22, "queue_bytes": 1_514, "marks": 34, "aqm_drops": 15},
        4: {"bytes": 1, "packets": 1, "drops": 0, "queue_bytes": 0, "marks": 0, "aqm_drops": 0},
    }


def test_what_is_configured_is_read_back():
    socket = FakeSocket((3, 0x10000, "netem", b"\5\0\0\0", 0, 0, 0, 0, b""))
    assert list(shaping.configured(socket)) == [(3, 0x10000, "netem", "05000000")]


def kept(shape, checksum):
    """What a kernel with this shape says of it."""
    trace = dict(attributes.unpacked(line.messages(shape, {"t": TRACE})[0]))[4]
    told = attributes.packed(2, "Q", shape.rate_bps or 0) + shaping.attribute(4, trace)
    return FakeSocket(
        (3, 0x10000, "netem", path.options(shape), 0, 0, 0, 0, b""),
        (3, 0x20000, "line", told + attributes.packed(6, "I", checksum), 0, 0, 0, 0, b""),
        (3, queues.HANDLES[queues.kind(shape)], queues.kind(shape), queues.options(shape), 0, 0, 0, 0, b""),
    )


def test_what_differs_is_said_value_by_value():
    shape = Shape(trace="t", loss=Loss(parameters=(0.25,)), queue_packets=9)
    checksum = zlib.crc32(struct.pack("=3Q", *TRACE.times_ns))
    assert shaping.mismatches(kept(shape, checksum), {3: shape}, {"t": TRACE}) == []
    other = dataclasses.replace(shape, delay_ns=1, loss=None, queue_packets=8)
    told = "3 opportunities in 10000000 ns"
    assert shaping.mismatches(kept(shape, checksum + 1), {3: other}, {"t": TRACE}) == [
        "interface 3: netem's delay_ns should be 1, and the kernel has 0",
        "interface 3: netem's loss should be ['random', 0.0], and the kernel has ['random', 0.25]",
        (
            f"interface 3: line's trace should be {told} (CRC-32 {checksum:08x}), and the kernel has {told} "
            f"(CRC-32 {checksum + 1:08x})"
        ),
        "interface 3: pfifo's queue should be 8, and the kernel has 9",
    ]
    managed = dataclasses.replace(shape, aqm="codel")
    assert shaping.mismatches(kept(shape, checksum), {3: managed}, {"t": TRACE}) == [
        "interface 3: the queue should be codel, and the kernel has pfifo"
    ]


def test_a_line_without_a_trace_is_told_no_beginning_of_one():
    shape = Shape(rate_bps=10**9)
    assert line.messages(shape, {}, start_ns=1) == line.messages(shape, {})
