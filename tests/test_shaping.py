"""What is asked of netem, read back with pyroute2's own decoder."""

import struct

import pytest
from pyroute2.netlink.rtnl import tcmsg

from testbed.emulate import shaping
from testbed.job import Loss, Shape


def decoded(shape, seed=None):
    """(parent, handle, fixed fields, attributes by name) of each request for a shape."""
    found = []
    for request in shaping.requests(7, shape, seed):
        request.encode()
        message = tcmsg.tcmsg(request.data)
        message.decode()
        assert message["index"] == 7
        assert message.get_attr("TCA_KIND") == "netem"
        options = message.get_attr("TCA_OPTIONS")
        found.append((message["parent"], message["handle"], options, dict(options["attrs"])))
    return found


def test_the_outer_queue_delays_and_loses_and_the_inner_one_serialises():
    shape = Shape(
        rate_bps=20_000_000,
        delay_ns=10_000_001,
        jitter_ns=1_500,
        loss=Loss(parameters=(0.01,)),
        queue_packets=50,
    )
    (outer, inner) = decoded(shape, seed=99)
    assert outer[0] == 0xFFFFFFFF
    assert outer[3]["TCA_NETEM_LATENCY64"] == 10_000_001
    assert outer[3]["TCA_NETEM_JITTER64"] == 1_500
    assert outer[3]["TCA_NETEM_PRNG_SEED"] == 99
    assert outer[2]["loss"] / 2**32 == pytest.approx(0.01, abs=1e-9)
    assert inner[0] == outer[1] + 1  # netem's one class
    assert inner[2]["limit"] == 50
    assert inner[2]["loss"] == 0
    assert inner[3]["TCA_NETEM_RATE64"] == 2_500_000


def test_without_a_rate_nothing_is_serialised():
    _, inner = decoded(Shape())
    assert inner[3]["TCA_NETEM_RATE64"] == 0
    assert inner[3]["TCA_NETEM_RATE"]["rate"] == 0


def test_a_change_goes_on_with_the_generator_it_has():
    outer, _ = decoded(Shape(loss=Loss(parameters=(0.5,))))
    assert "TCA_NETEM_PRNG_SEED" not in outer[3]


def test_rates_beyond_32_bits_of_bytes_are_kept():
    _, inner = decoded(Shape(rate_bps=100_000_000_000))
    assert inner[3]["TCA_NETEM_RATE64"] == 12_500_000_000
    assert inner[3]["TCA_NETEM_RATE"]["rate"] == 0xFFFFFFFF


@pytest.mark.parametrize(("loss", "drawn"), [(0.0, 0), (1.0, 2**32 - 1)])
def test_the_ends_of_the_scale_are_exact(loss, drawn):
    assert decoded(Shape(loss=Loss(parameters=(loss,))))[0][2]["loss"] == drawn


class FakeSocket:
    """Answers a dump with one qdisc a line: (index, handle, bytes, packets, drops, backlog)."""

    def __init__(self, *queues):
        self.queues = queues

    def dump(self, _request):
        for index, handle, count, packets, drops, backlog in self.queues:
            body = struct.pack("=BBHiIII", 0, 0, 0, index, handle, 0, 0)
            for kind, value in (
                (1, b"netem\0"),
                (2, struct.pack("=I", 5)),
                (3, struct.pack("=QIIIIIII", count, packets, drops, 0, 0, 0, 0, backlog)),
            ):
                body += struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)
            yield 36, body


def test_counters_join_the_two_queues():
    socket = FakeSocket(
        (3, 0x10000, 9_000, 6, 2, 4_000), (3, 0x20000, 9_000, 6, 1, 1_514), (1, 0, 1, 1, 0, 0)
    )
    assert shaping.counters(socket) == {3: {"bytes": 9_000, "packets": 6, "drops": 2, "queue_bytes": 1_514}}


def test_what_is_configured_is_read_back():
    socket = FakeSocket((3, 0x10000, 0, 0, 0, 0))
    assert list(shaping.configured(socket)) == [(3, 0x10000, "netem", "05000000")]
