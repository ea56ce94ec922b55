"""`link-impair`: any word of a link changes and nothing else, and what changed is judged by its traces."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from testbed import registry
from testbed.faults import Fault
from testbed.job import Loss, Shape, Trace
from testbed.measure.schema import TABLES
from testbed.measure.tables import Tables
from testbed.model.kinds import OneOf
from testbed.plan import _fault
from testbed.testing import FakeNet

MS, S = 10**6, 10**9
LINK, OCA, ROUTER = "oca-n1--north.core", "oca-n1", "north.core"
PLANNED = Shape(
    rate_bps=10_000_000, delay_ns=5 * MS, jitter_ns=MS, jitter_distribution="normal", jitter_correlation=0.5,
    loss=Loss(parameters=(0.01,)), queue_packets=50, aqm="red", aqm_options={"min": 3000},
)  # fmt: skip
BACK = dataclasses.replace(PLANNED, rate_bps=20_000_000, delay_ns=15 * MS)
FIRST = made.job().links[0]
JOB = made.job(
    links=(dataclasses.replace(FIRST, a_to_b=PLANNED, b_to_a=BACK), *made.job().links[1:]),
    traces={"slow": Trace(period_ns=S, times_ns=(S,))},
)
READ = TypeAdapter(Annotated[Fault, OneOf("faults", Fault)])


def written(**words):
    """The fault that somebody wrote, as the guest makes it from the job's JSON."""
    said = {"kind": "link-impair", "link": LINK, "at": "10s", "lasts": "10s", **words}
    planned = _fault(1, READ.validate_python(said))
    crossed = json.loads(json.dumps(dataclasses.asdict(planned)))
    assert crossed["parameters"] == planned.parameters  # the job is the same on both sides
    return registry.build(
        "faults", planned.kind, {"at": planned.at_ns, "lasts": planned.lasts_ns, **crossed["parameters"]}
    )


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ({"delay": "80ms"}, {"delay_ns": 80 * MS}),
        ({"jitter": "2ms"}, {"jitter_ns": 2 * MS}),
        (
            {"jitter": {"by": "2ms", "distribution": "pareto", "correlation": "25%"}},
            {"jitter_ns": 2 * MS, "jitter_distribution": "pareto", "jitter_correlation": 0.25},
        ),
        ({"loss": "100%"}, {"loss": Loss(parameters=(1.0,))}),
        ({"loss": 0}, {"loss": None}),
        (
            {"loss": {"model": "gilbert-elliott", "p": "1%", "r": "20%"}},
            {"loss": Loss(model="gilbert-elliott", parameters=(0.01, 0.2, 1.0, 0.0))},
        ),
        (
            {"loss": {"model": "4-state", "p13": "1%", "p31": "30%"}},
            {"loss": Loss(model="4-state", parameters=(0.01, 0.3, 0.0, 1.0, 0.0))},
        ),
        ({"duplicate": "1%"}, {"duplicate": 0.01}),
        ({"reorder": "1%"}, {"reorder": 0.01}),
        ({"corrupt": "1%"}, {"corrupt": 0.01}),
        ({"rate": "1mbit"}, {"rate_bps": 1_000_000, "trace": None}),
        ({"queue": "10p"}, {"queue_packets": 10}),
        ({"queue": "64KiB"}, {"queue_packets": None, "queue_bytes": 65536}),
        ({"aqm": "codel", "ecn": True}, {"aqm": "codel", "aqm_options": {}, "ecn": True}),
        (
            {"aqm": {"kind": "pie", "target": "15ms"}},
            {"aqm": "pie", "aqm_options": {"target": 15 * MS}},
        ),
    ],
)
def test_a_word_changes_its_fields_and_leaves_the_others(words, change):
    net = FakeNet(JOB)
    before = net.state()
    with written(**words).strike(net):
        assert net.shape(LINK, "forward") == dataclasses.replace(PLANNED, **change)
        assert net.shape(LINK, "backward") == dataclasses.replace(BACK, **change)
    assert net.state() == before


def test_one_direction_alone_can_change():
    net = FakeNet(JOB)
    with written(delay="80ms", direction="backward").strike(net):
        assert net.shape(LINK, "forward") == PLANNED
        assert net.shape(LINK, "backward").delay_ns == 80 * MS


@pytest.mark.parametrize(
    ("words", "forward", "backward"),
    [
        ({"queue": "10ms"}, 12_500, 25_000),
        ({"queue": "1bdp"}, 25_000, 50_000),  # 5 ms there and 15 ms back
        ({"queue": "1bdp", "delay": "50ms"}, 125_000, 250_000),
        ({"queue": "1bdp", "delay": "35ms", "direction": "forward"}, 62_500, None),
        ({"queue": "10ms", "rate": "80mbit"}, 100_000, 100_000),
        ({"queue": "1us"}, 1514, 1514),
    ],
)
def test_a_queue_is_of_the_rate_and_the_delays_that_the_fault_leaves(words, forward, backward):
    net = FakeNet(JOB)
    with written(**words).strike(net):
        assert net.shape(LINK, "forward").queue_bytes == forward
        assert net.shape(LINK, "backward").queue_bytes == backward


def test_a_queue_behind_a_trace_is_of_its_mean():
    slow = dataclasses.replace(PLANNED, rate_bps=None, trace="slow")  # one packet a second
    links = (dataclasses.replace(FIRST, a_to_b=slow, b_to_a=slow), *JOB.links[1:])
    net = FakeNet(dataclasses.replace(JOB, links=links))
    with written(queue="10s").strike(net):
        assert net.shape(LINK, "forward").queue_bytes == 15_140


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "it changes nothing; give at least one of queue, delay"),
        ({"loss": {"model": "gilbert"}}, "did you mean gilbert-elliott"),
        ({"aqm": {"kind": "pie", "tupdat": "15ms"}}, "did you mean tupdate"),
        ({"trace": "x.down"}, "is not a key here"),
        ({"mtu": 1400}, "is not a key here"),
        ({"jitter": "3s"}, "netem cannot jitter by 3s"),
        ({"duplicate": "101%"}, "'101%' is too much"),
        ({"corrupt": "0.00000001%"}, "less than netem can draw"),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    with pytest.raises(ValidationError, match=message.replace("?", ".")):
        written(**words)


@pytest.fixture
def tables(tmp_path):
    """A function from rows to the tables of a run on `JOB`; the fault is in force from 10 s to 20 s."""

    def make(hops=(), links=(), packets=()):
        (tmp_path / "tables").mkdir()
        (tmp_path / "job.json").write_text(JOB.dumps())
        for name, rows in (("hops", hops), ("links", links), ("packets", packets)):
            pq.write_table(
                pa.Table.from_pylist(list(rows), TABLES[name].arrow), tmp_path / "tables" / f"{name}.parquet"
            )
        return Tables(tmp_path)

    return make


def hop(t_s, delay_ms, sender=OCA):
    delay_ns = None if delay_ms is None else round(delay_ms * MS)
    return {
        "link": LINK, "from": sender, "to": ROUTER if sender == OCA else OCA, "sent_ns": round(t_s * S),
        "received_ns": None if delay_ns is None else round(t_s * S) + delay_ns, "delay_ns": delay_ns,
        "lost": delay_ns is None,
    }  # fmt: skip


def during(*delays_ms, sender=OCA):
    """Hops while the fault is in force, in equal steps."""
    return [hop(10 + 9 * place / len(delays_ms), delay, sender) for place, delay in enumerate(delays_ms)]


def sample(t_s, packets, drops, node=OCA):
    return {"t_ns": t_s * S, "link": LINK, "node": node, "packets": packets, "drops": drops}


def managed(*counts, node=OCA):
    """Samples from 10 s on, a second apart: (marks, aqm_drops)."""
    return [
        {**sample(10 + second, 0, 0, node), "marks": marks, "aqm_drops": aqm_drops}
        for second, (marks, aqm_drops) in enumerate(counts)
    ]


def segment(t_s, ip_id, sender=OCA, proto="tcp"):
    # captured at the OCA's end
    return {
        "t_ns": round(t_s * S), "node": OCA, "link": LINK, "direction": "out" if sender == OCA else "in",
        "src": "10.0.0.1", "dst": "10.0.0.2", "proto": proto, "sport": 443, "dport": 5000, "length": 1514,
        "ip_id": ip_id, "tcp_seq": 1000 * ip_id, "tcp_ack": 1,
    }  # fmt: skip


ONE_WAY = {"direction": "forward"}


@pytest.mark.parametrize(
    ("words", "hops", "links", "held"),
    [
        # the planned jitter is normal: its table reaches four standard deviations below
        ({"delay": "80ms"}, during(77, 90, 83), (), True),
        ({"delay": "80ms"}, during(75, 90, 83), (), False),
        ({"delay": "80ms"}, (), (), None),
        ({"delay": "80ms", "jitter": {"by": "2ms", "distribution": "uniform"}}, during(78.5, 90), (), True),
        ({"delay": "80ms", "jitter": {"by": "2ms", "distribution": "uniform"}}, during(77, 90), (), False),
        ({"delay": "80ms", "reorder": "40%"}, during(*[0.1, 85, 86] * 10), (), True),
        ({"reorder": "50%"}, during(*[0.5, 6] * 10), (), True),
        ({"reorder": "50%"}, during(*[5, 6] * 10), (), False),
        ({"reorder": "50%"}, during(*[5, 6] * 3), (), None),
        ({"jitter": "9ms"}, [*(hop(1 + n / 9, 5) for n in range(9)), *during(*range(1, 21))], (), True),
        ({"jitter": "9ms"}, [*(hop(1 + n / 9, n) for n in range(9)), *during(*range(1, 21))], (), None),
        ({"jitter": "9ms"}, [*(hop(1 + n / 9, 5) for n in range(9)), *during(*[5] * 20)], (), None),
        ({"corrupt": "10%"}, during(*[5] * 90, *[None] * 9), [sample(10, 0, 0), sample(19, 100, 0)], True),
        ({"corrupt": "10%"}, during(*[5] * 90), [sample(10, 0, 0), sample(19, 100, 0)], False),
        ({"corrupt": "10%"}, during(*[5] * 90, *[None] * 9), [sample(10, 0, 0), sample(19, 100, 9)], None),
        ({"loss": "1%"}, (), [sample(10, 0, 0), sample(19, 1000, 11)], True),
        ({"loss": "1%"}, (), [sample(10, 0, 3), sample(19, 1000, 3)], False),
        ({"loss": "1%"}, (), [sample(10, 0, 3), sample(19, 100, 3)], None),
        (
            {"loss": {"model": "gilbert-elliott", "mean": "1%", "burst": 4}},
            (), [sample(10, 0, 0), sample(19, 1000, 0)], False,
        ),
        ({"queue": "10p"}, during(5, 6, 7), [sample(10, 0, 0), sample(19, 1000, 11)], None),
        ({"aqm": "codel", "ecn": True}, during(5, 6, 7), [sample(10, 0, 0), sample(19, 1000, 11)], None),
    ],
)  # fmt: skip
def test_what_was_changed_shows(tables, words, hops, links, held):
    assert written(**words, **ONE_WAY).took_hold(tables(hops, links)) is held


@pytest.mark.parametrize(
    ("planned", "words", "counts", "held"),
    [
        ({"aqm": "fifo"}, {"aqm": "codel"}, [(0, 0), (0, 7)], True),
        ({"aqm": "fifo"}, {"aqm": "codel", "ecn": True}, [(0, 0), (9, 0)], True),
        ({"aqm": "fifo"}, {"aqm": "codel", "ecn": True}, [(0, 0), (0, 9)], True),
        ({"aqm": "fifo"}, {"aqm": "codel"}, [(0, 0), (0, 0)], None),  # nothing waited, perhaps
        ({"aqm": "fifo"}, {"aqm": "codel"}, [(0, 0), (0, 7), (0, 0)], True),  # the last is of the fifo again
        ({"aqm": "fifo"}, {"aqm": "codel"}, [], None),
        ({"aqm": "codel"}, {"aqm": "fifo"}, [(5, 7), (0, 0), (0, 0)], None),
        ({"aqm": "codel"}, {"aqm": "fifo"}, [(5, 7), (5, 9)], False),
        ({"aqm": "codel"}, {"aqm": "pie"}, [(5, 7), (5, 9)], None),
        ({"aqm": "codel"}, {"ecn": True}, [(0, 7), (3, 9)], True),
        ({"aqm": "codel"}, {"ecn": True}, [(0, 7), (0, 9)], None),
        ({"aqm": "codel", "ecn": True}, {"ecn": False}, [(5, 7), (5, 9)], None),
        ({"aqm": "codel", "ecn": True}, {"ecn": False}, [(5, 7), (6, 9)], False),
        ({"aqm": "cake"}, {"ecn": True}, [(5, 7), (6, 9)], None),  # it marked before
    ],
)  # fmt: skip
def test_what_manages_a_queue_shows_in_what_it_counts(tables, monkeypatch, planned, words, counts, held):
    shape = dataclasses.replace(PLANNED, aqm_options={}, **planned)
    links = (dataclasses.replace(FIRST, a_to_b=shape, b_to_a=BACK), *JOB.links[1:])
    monkeypatch.setitem(globals(), "JOB", dataclasses.replace(JOB, links=links))
    assert written(**words, **ONE_WAY).took_hold(tables(links=managed(*counts))) is held


def test_each_direction_must_show_it(tables):
    found = tables([*during(85, 90), *during(20, 21, sender=ROUTER)])
    assert written(delay="80ms", direction="forward").took_hold(found) is True
    assert written(delay="80ms", direction="backward").took_hold(found) is False
    assert written(delay="80ms").took_hold(found) is False


@pytest.mark.parametrize(
    ("identities", "held"),
    [
        ([*range(1, 101), 4, 9], True),
        ([*range(1, 101)], False),
        ([*range(1, 51)], None),  # not even seven were due
        ([0] * 100, None),  # without an identification nothing tells a copy
    ],
)
def test_doubled_segments_show(tables, identities, held):
    packets = [segment(10 + place / 20, number) for place, number in enumerate(identities)]
    assert written(duplicate="10%", **ONE_WAY).took_hold(tables(packets=packets)) is held


def test_a_lower_rate_shows_in_the_busiest_moment(tables):
    found = tables(packets=[segment(10 + n / 1000, n) for n in range(1, 200)])  # 12 Mbit/s
    assert written(rate="13mbit", **ONE_WAY).took_hold(found) is True
    assert written(rate="1mbit", **ONE_WAY).took_hold(found) is False


def test_a_delay_heals_when_packets_are_fast_again(tables):
    found = tables([hop(21, 5), hop(22, 200), hop(21, 100, ROUTER)])
    assert written(delay="80ms", direction="forward").healed(found) is True
    assert written(delay="80ms", direction="backward").healed(found) is False
    assert written(loss="1%").healed(found) is None
