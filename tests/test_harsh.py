"""Over links that lose, copy, reorder and overflow, what is said of each packet is what others say of it."""

import collections
import shutil

import harsh
import pytest
from judge import judged, labels, near

from testbed.measure.points import file_of, points

pytestmark = pytest.mark.guest

SEEN_HERE = {
    "retransmission", "fast-retransmission", "spurious-retransmission", "out-of-order", "duplicate-ack",
    "previous-segment-not-captured", "window-update", "zero-window", "window-full", "keep-alive",
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return harsh.recorded(tmp_path_factory.mktemp("harsh"))


def test_joined_losses_are_the_kernels_own_counts_on_every_link(tables):
    """But for a host's own first link, before which no capture sees its packets; that loses none."""
    counted = tables.sql("select link, node, max(drops) from links group by all")
    kernel = {(link, node): drops for link, node, drops in counted}
    joined = collections.Counter()
    for link, node, lost in tables.sql('select link, "from", count(*) from hops where lost group by all'):
        joined[link, node] = lost
    assert {place: joined[place] for place in kernel} == kernel
    assert sum(joined.values()) == sum(kernel.values()) > 100
    assert len([place for place, drops in kernel.items() if drops]) > 10


def test_every_packet_that_crossed_a_node_did_so_once(tables):
    """Hops that were not lost are what the next link saw, less the copies that the link before it made."""
    for name in ("queue", "loss", "disorder", "stalls"):
        for place in (1, 2):
            node, link = f"{name}-{place}", f"{name}-{place}--{name}-{place + 1}"
            passed = tables.scalar(
                'select count(*) from hops where "from" = ? and link = ? and not lost', node, link
            )
            seen = "select count(*) from packets where link = ? and direction = 'out' and proto = 'tcp'"
            assert passed == tables.scalar(seen, link)


def test_of_equal_datagrams_and_of_fragments_some_were_lost(tables):
    """Else the counts above would say nothing of them."""
    fragments, numbered, equal = tables.sql(
        """select count(*) filter (fragment is not null),
               count(*) filter (fragment is not null and ip_id > 0),
               count(*) filter (fragment is null and ip_id = 0)
           from packets where node like 'datagrams-%' and sport = 9000 or fragment > 0"""
    )[0]
    assert min(fragments, equal) > 1000
    assert numbered == fragments
    lost, unsure = tables.sql(
        """select count(*) filter (lost), count(*) filter (ambiguous) from hops
           where "from" like 'datagrams-%'"""
    )[0]
    assert min(lost, unsure) > 50


@pytest.fixture(scope="module")
def said(tables):
    """By capture, what tshark says of each frame: its labels, and its round-trip time in nanoseconds."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark, the judge, is not installed")
    return {point.name: judged(file_of(tables.run, point)) for point in points(tables.job)}


def test_tshark_agrees_on_every_segment(tables, said):
    packets, differing, met = 0, [], collections.Counter()
    for point in points(tables.job):
        ours = tables.sql(
            "select tcp_analysis, rtt_ns, proto from packets where node = ? and interface = ?",
            point.node, point.interface,
        )  # fmt: skip
        for number, ((theirs, rtt_ns), (analysis, measured_ns, proto)) in enumerate(
            zip(said[point.name], ours, strict=True), start=1
        ):
            if proto != "tcp":
                continue
            packets += 1
            mine = labels(analysis)
            met.update(mine)
            if mine != theirs or not near(rtt_ns, measured_ns):
                differing.append((point.name, number, theirs ^ mine, rtt_ns, measured_ns))
    assert packets > 100_000
    assert met.keys() >= SEEN_HERE
    assert len(differing) <= packets / 1000, differing[:20]
    assert differing == []  # today
