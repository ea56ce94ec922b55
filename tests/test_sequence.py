"""Time-sequence plots draw what was sent, over wraps of sequence numbers and with scaled windows."""

import struct
import xml.etree.ElementTree as ET

import pytest
from captures import ACK, MS, RST, SYN, Network, S, tcp, udp
from typer.testing import CliRunner

from testbed.cli import app
from testbed.measure.tables import Tables, write
from testbed.report import sequence
from testbed.report.sequence import NoFlow

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"
ISN = 2**32 - 1500  # wraps after the first segment
SCALE = b"\x01\x03\x03\x07"


def sack(*edges):
    return struct.pack(f">BB{len(edges)}I", 5, 2 + 4 * len(edges), *(edge % 2**32 for edge in edges))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    net = Network()

    def served(ms, first, size=1000, **given):
        net.send(ms * MS, DOWN, tcp(443, 4000, ISN + first, 9, ACK, b"d" * size), **given)

    def acked(ms, number, window=100, options=b"", flags=ACK):
        net.send(ms * MS, UP, tcp(4000, 443, 9, ISN + number, flags, options=options, window=window))

    net.send(0, UP, tcp(4000, 443, 8, 0, SYN, options=SCALE, window=500))
    net.send(10 * MS, DOWN, tcp(443, 4000, ISN, 9, SYN | ACK, options=SCALE))
    acked(20, 1)
    for number in range(4):
        served(30 + number, 1 + 1000 * number, lost_at="r1" if number == 1 else "")
    acked(40, 1001)
    acked(41, 1001, options=sack(ISN + 2001, ISN + 3001))
    acked(42, 1001, options=sack(ISN + 2001, ISN + 4001))
    served(50, 1001)
    acked(60, 4001, window=0)
    acked(70, 4001, flags=RST)
    net.send(80 * MS, UP, udp(5000, 6000, b"x"), proto=17)
    run = net.write(tmp_path_factory.mktemp("plotted"))
    write(run)
    return run


@pytest.fixture(scope="module")
def tables(run):
    return Tables(run)


@pytest.fixture(scope="module")
def flows(tables):
    return dict(tables.sql("select proto, any_value(flow_id) from flows group by proto"))


def test_the_direction_with_more_data_is_drawn_where_it_was_sent(tables, flows):
    trace = sequence.read(tables, flows["tcp"])
    assert trace.title == "s1:443 → c1:4000"
    assert trace.point == tables.scalar(
        "select node || '.' || interface from packets where link = 'r2--s1' limit 1"
    )
    # s1's capture point is r2's end of the link: there the second segment passed, and came again
    assert [(first, last, again) for _, first, last, again in trace.segments] == [
        (1, 1001, False), (1001, 2001, False), (2001, 3001, False), (3001, 4001, False), (1001, 2001, True),
    ]  # fmt: skip
    assert [number for _, number in trace.acks] == [1, 1001, 1001, 1001, 4001]
    assert [(a, b) for _, a, b in trace.sacks] == [(2001, 3001), (2001, 4001)]
    assert [number for _, number in trace.duplicates] == [1001, 1001]
    assert [word for *_, word in trace.marks] == ["SYN", "zero window", "RST"]


def test_windows_are_scaled_as_the_syn_says(tables, flows):
    trace = sequence.read(tables, flows["tcp"])
    assert [top - number for (_, top), (_, number) in zip(trace.windows, trace.acks, strict=True)] == [
        100 << 7, 100 << 7, 100 << 7, 100 << 7, 0,
    ]  # fmt: skip


def test_another_point_and_the_other_direction_can_be_drawn(tables, flows):
    beyond = sequence.read(tables, flows["tcp"], at="c1.eth0")
    assert len(beyond.segments) == 4  # one was lost before
    up = sequence.read(tables, flows["tcp"], direction="up")
    assert (up.title, up.segments) == ("c1:4000 → s1:443", [])


@pytest.mark.parametrize(
    ("flow", "at", "wrong"),
    [
        (99, "", "there is no flow 99; they are listed by testbed query"),
        ("udp", "", "is udp, which has no sequence numbers"),
        ("tcp", "x1.eth0", r"was not seen at x1.eth0; it was at c1.eth0, "),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(tables, flows, flow, at, wrong):
    with pytest.raises(NoFlow, match=wrong):
        sequence.read(tables, flows.get(flow, flow), at)


def test_the_svg_has_a_stroke_for_each_segment_and_stands_alone(tables, flows):
    trace = sequence.read(tables, flows["tcp"])
    text = sequence.svg(trace)
    root = ET.fromstring(text)
    paths = {each.get("class"): each.get("d") for each in root.iter() if each.tag.endswith("path")}
    assert paths["new"].count("M") == 4
    assert paths["again"].count("M") == 1
    assert paths["sack"].count("M") == 2
    assert paths["dup"].count("M") == 2
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "5 segments, 1 sent again" in text
    part = sequence.svg(trace, 45 * MS, 55 * MS)
    assert "1 segments, 1 sent again" in part


def test_nothing_in_a_span_is_an_empty_plot(tables, flows):
    ET.fromstring(sequence.svg(sequence.read(tables, flows["tcp"]), 15 * S, 16 * S))


def test_the_command_draws_svg_and_html(run, flows, tmp_path):
    def called(*words):
        return CliRunner().invoke(app, ["plot", str(run), *words])

    for name in ("x.svg", "x.html"):
        done = called("--flow", str(flows["tcp"]), "-o", str(tmp_path / name))
        assert done.exit_code == 0, done.output
        assert done.stdout == f"{tmp_path / name}\n"
    assert "<script>" in (tmp_path / "x.html").read_text()
    assert (refused := called("--flow", "99")).exit_code == 2
    assert "there is no flow 99" in refused.stderr
    assert (refused := called("--flow", "1", "--from", "ten")).exit_code == 2
    assert "'ten' is not a duration" in refused.stderr
