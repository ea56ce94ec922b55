"""Of TCP connections that lose, repeat and disorder in every way, tshark says the same, packet by packet."""

import collections
import shutil

import pytest
from captures import write_pcap
from conversations import conversations
from judge import LABELS, judged, labels, near

from testbed.measure.foreign import tabulate
from testbed.measure.tables import Tables

# Of a thousand packets at most one may differ in what people look for; the differences that are known and why
# they are is told in docs/how.md.
SOUGHT = {
    "retransmission", "fast-retransmission", "spurious-retransmission", "out-of-order", "duplicate-ack",
    "zero-window",
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """By frame what tshark says and what we do: labels and round-trip times."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark, the judge, is not installed")
    folder = tmp_path_factory.mktemp("labels")
    path = write_pcap(folder / "a.pcap", conversations(250, "labels"))
    tabulate([path], folder / "tables")
    ours = Tables(folder).sql("select tcp_analysis, rtt_ns from packets")
    return [
        (said, rtt_ns, labels(analysis), own_ns)
        for (said, rtt_ns), (analysis, own_ns) in zip(judged(path), ours, strict=True)
    ]


def test_all_of_it_occurs(compared):
    met = collections.Counter(label for said, *_ in compared for label in said)
    assert set(met) == set(LABELS)
    assert all(met[label] > 100 for label in SOUGHT)
    assert len(compared) > 20_000


def test_of_a_thousand_segments_one_at_most_is_called_otherwise(compared):
    differing = [
        (number, said ^ mine)
        for number, (said, _, mine, _) in enumerate(compared, start=1)
        if (said ^ mine) & SOUGHT
    ]
    assert len(differing) <= len(compared) / 1000, differing
    every = [number for number, (said, _, mine, _) in enumerate(compared, start=1) if said != mine]
    assert len(every) <= len(compared) / 1000


def test_round_trips_are_the_same_to_a_microsecond(compared):
    differing = [
        (number, rtt_ns, own_ns)
        for number, (_, rtt_ns, _, own_ns) in enumerate(compared, start=1)
        if not near(rtt_ns, own_ns)
    ]
    assert differing == []
