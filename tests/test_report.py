from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import made
import pytest

from testbed import pipeline
from testbed.job import Fault
from testbed.report import page, story, summary, timeline, topology

S = made.S
METRO = Path(__file__).parents[1] / "scenarios" / "oca-crash.yaml"


@pytest.fixture
def run(tmp_path):
    run = made.run(tmp_path / "made" / "one")
    pipeline.judge(run)
    (run / "run.json").write_text(
        json.dumps({"venue": "guest", "virtual_s": 30, "real_s": 2, "digest": "d1ge57"})
    )
    return run


class Tree(HTMLParser):
    """Checks that what is opened is closed, and keeps texts and links."""

    void = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.references = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_report_is_one_file_that_tells_the_run(run):
    text = pipeline.report(run).read_text()
    tree = Tree(text)
    words = " ".join(tree.texts)
    for expected in (
        "✓ pass", "p95 1.2s", "⚡1 oca-crash oca-n1", "took hold 10.000 s", "s0002", "seed 1", "d1ge57",
        "testbed reproduce made/one",
    ):  # fmt: skip
        assert expected in words, expected
    assert tree.references == []
    assert "http" not in text.replace("http://www.w3.org", "")


def test_the_top_says_what_happened_in_words(run):
    assert summary.told(story.read(run)) == [
        "2 of 2 sessions played to the end; the picture never stood still.",
        (
            "⚡1 At 10s, oca-crash struck oca-n1 for 10s. Meanwhile 2 sessions failed over,"
            " oca-n1 → oca-x1 (2), the slowest in 1200 ms; none stalled."
        ),
    ]


def test_a_fault_that_missed_is_said_to_have(tmp_path):
    run = made.run(tmp_path / "run", requests=[], playback=[])
    pipeline.judge(run)
    told = story.read(run)
    finding = dataclasses.replace(told.judgement.faults[0], took_hold=False)
    told = dataclasses.replace(told, judgement=dataclasses.replace(told.judgement, faults=(finding,)))
    assert summary.told(told)[-1] == "⚡1 At 10s, oca-crash struck oca-n1, but never took hold."


def test_what_each_server_sent_has_a_unit(run):
    words = " ".join(Tree(pipeline.report(run).read_text()).texts)
    assert "2.4 MB" in words  # oca-n1: six segments of 400 kB, two requests failed


def test_the_same_run_gives_the_same_bytes(run):
    assert pipeline.report(run).read_bytes() == pipeline.report(run).read_bytes()


def test_names_cannot_become_markup(tmp_path):
    planned = made.job(scenario="<script>x", sources={"<b>": "a: <i>"})
    run = made.run(tmp_path / "run", planned)
    pipeline.judge(run)
    text = pipeline.report(run).read_text()
    assert "<script>x" not in text
    assert "a: &lt;i&gt;" in text


def test_a_run_without_sessions_faults_or_checks_has_a_report_too(tmp_path):
    planned = made.job(sessions=(), faults=(), checks=(), titles=())
    run = made.run(tmp_path / "run", planned, sessions=[], playback=[], requests=[], events=[])
    pipeline.judge(run)
    words = " ".join(Tree(pipeline.report(run).read_text()).texts)
    assert "Nobody played anything." in words
    assert "Nothing was broken." in words


def test_the_reasons_to_distrust_a_run_stand_at_its_top(tmp_path):
    run = made.run(tmp_path / "run", drops=3)
    pipeline.judge(run)
    assert "Not to be trusted: the capture at oca-n1.eth0 lost 3 packets." in pipeline.report(run).read_text()


def test_the_buffer_plays_down_between_what_the_player_told():
    moments = [
        story.Moment(0, "segment", 400, 4 * S, {}),
        story.Moment(1 * S, "startup", 400, 4 * S, {}),
        story.Moment(3 * S, "segment", 400, 6 * S, {}),
        story.Moment(9 * S, "stall", 400, 0, {}),
        story.Moment(12 * S, "resume", 400, 4 * S, {}),
    ]
    points = timeline.buffer_path(moments)
    assert (3 * S, 2 * S) in points  # two seconds played since startup
    assert (9 * S, 0) in points
    assert points[-2:] == [(12 * S, 0), (12 * S, 4 * S)]  # nothing plays during a stall
    assert timeline.stalls(moments) == [(9 * S, 12 * S)]


def test_a_stall_that_never_ends_lasts_until_the_session_does():
    moments = [
        story.Moment(t * S, event, 0, 0, {}) for t, event in ((1, "startup"), (2, "stall"), (7, "end"))
    ]
    assert timeline.stalls(moments) == [(2 * S, 7 * S)]


def test_of_many_sessions_those_with_trouble_are_drawn(tmp_path):
    rows = [made.viewed("s1", session_id=f"s{n:04d}", client="north.homes.1") for n in range(40)]
    rows[35] |= {"outcome": "error"}
    rows[36] |= {"rebuffer_ns": S}
    run = made.run(tmp_path / "run", sessions=rows)
    pipeline.judge(run)
    drawn = [row["session_id"] for row in timeline.chosen(story.read(run))]
    assert len(drawn) == timeline.SESSIONS
    assert {"s0035", "s0036"} <= set(drawn)
    assert drawn == sorted(drawn)
    assert "16 more in the table" in page.render(story.read(run))


def room(x, y, wide=topology.WIDTH, tall=topology.HEIGHT):
    return topology.Frame(x - wide / 2, y - tall / 2, wide, tall)


class TestTopology:
    def test_clients_of_one_kind_are_one_box_at_the_bottom(self):
        drawing = topology.lay_out(made.job())
        assert sorted(drawing.boxes) == ["north.core", "north.homes", "oca-n1", "oca-x1"]
        assert drawing.boxes["north.homes"].note == "2 clients"
        assert max(y for _, y in drawing.at.values()) == drawing.at["north.homes"][1]
        assert len(set(drawing.at.values())) == 4

    def test_the_drawing_is_svg_and_marks_what_broke(self):
        faults = (
            *made.job().faults,
            Fault(
                id=2, kind="link-down", at_ns=0, lasts_ns=S, target="north.core--oca-x1", source=""
            ),  # ends swapped
        )
        svg = ET.fromstring(topology.draw(made.job(faults=faults)))
        struck = {
            group.findtext("title"): group for group in svg.iter("g") if "struck" in group.get("class", "")
        }
        assert len(struck) == 2
        (node,) = (group for title, group in struck.items() if title.startswith("oca-n1: "))
        (link,) = (group for title, group in struck.items() if title.startswith("oca-x1--north.core"))
        assert "⚡1" in "".join(node.itertext())
        assert "⚡2" in "".join(link.itertext())

    def test_nodes_stand_in_the_frame_of_their_as_and_nothing_overlaps(self):
        drawing = topology.lay_out(pipeline.plan(METRO))
        assert sorted(drawing.frames) == [
            "cdn · AS64600", "ix · AS64520", "north · AS64501", "south · AS64502", "transit · AS64510",
        ]  # fmt: skip
        rooms = {name: room(*middle) for name, middle in drawing.at.items()}
        assert rooms["oca-n1"].meets(drawing.frames["north · AS64501"])  # though its AS is the OCAs'
        frames = list(drawing.frames.values())
        for several in (frames, list(rooms.values())):
            assert not any(a.meets(b) for a in several for b in several if a is not b)
        clients, cdn = drawing.at["north.homes"], drawing.at["cdn.pop"]
        assert clients[1] > drawing.at["north.core"][1] > drawing.at["transit.a"][1] > cdn[1]

    def test_labels_of_links_overlap_neither_boxes_nor_each_other(self):
        drawing = topology.lay_out(pipeline.plan(METRO))
        told = topology.labels(drawing, {})
        assert "↓40mbit ↑6mbit 8ms" in [words for words, _, _ in told]
        places = [room(x, y, len(words) * topology.LETTER, 14) for words, x, y in told]
        places += [room(*middle) for middle in drawing.at.values()]
        assert not any(a.meets(b) for a in places for b in places if a is not b)

    def test_a_part_that_nobody_reaches_is_drawn(self):
        alone = made.job(links=made.job().links[1:])
        assert "oca-n1" in topology.lay_out(alone).at
