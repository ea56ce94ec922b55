"""What the words of a link become: shapes, laid over the defaults word by word."""

from __future__ import annotations

import random

import pytest

from testbed import impairments, model, traces
from testbed.impairments import Jitter, gilbert_elliott, mean_loss, shown
from testbed.job import Job, Loss, Shape, Trace
from testbed.model.link import LinkSpec, specs
from testbed.plan import bare
from testbed.plan.shapes import collect, shapes

MS = 10**6
DEFAULTS = {
    "rate": "1gbit", "delay": "1ms", "queue": "50ms", "loss": "1%", "aqm": "fq_codel", "ecn": True,
    "jitter": {"by": "1ms", "distribution": "normal"},
}  # fmt: skip


def spec(words=None):
    return LinkSpec.model_validate(words or {})


def shape(words, below=None, **directions):
    """The forward shape of a link."""
    own = {name: spec(said) for name, said in directions.items()}
    return shapes(spec(below), spec(words), **own)[0]


def test_a_link_that_says_nothing_is_a_plain_wire():
    assert shapes(spec(), spec()) == (Shape(), Shape())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"rate": "10mbit"}, {"rate_bps": 10_000_000}),
        ({"delay": "5ms"}, {"delay_ns": 5 * MS}),
        ({"jitter": "2ms"}, {"jitter_ns": 2 * MS}),
        (
            {"jitter": {"by": "2ms", "distribution": "pareto", "correlation": "25%"}},
            {"jitter_ns": 2 * MS, "jitter_distribution": "pareto", "jitter_correlation": 0.25},
        ),
        ({"loss": "1%"}, {"loss": Loss(parameters=(0.01,))}),
        ({"loss": 0}, {"loss": None}),
        (
            {"loss": {"model": "gilbert-elliott", "p": "1%", "r": "20%", "bad": "80%", "good": "0.1%"}},
            {"loss": Loss(model="gilbert-elliott", parameters=(0.01, 0.2, 0.8, 0.001))},
        ),
        (
            {"loss": {"model": "gilbert-elliott", "mean": "50%", "burst": 4}},
            {"loss": Loss(model="gilbert-elliott", parameters=(0.25, 0.25, 1.0, 0.0))},
        ),
        (
            {"loss": {"model": "4-state", "p13": "1%", "p31": "30%", "p32": "8%", "p23": "80%", "p14": "2%"}},
            {"loss": Loss(model="4-state", parameters=(0.01, 0.3, 0.08, 0.8, 0.02))},
        ),
        (
            {"loss": {"model": "4-state", "p13": "1%", "p31": "30%"}},
            {"loss": Loss(model="4-state", parameters=(0.01, 0.3, 0.0, 1.0, 0.0))},
        ),
        (
            {"duplicate": "0.1%", "reorder": "1%", "corrupt": "0.01%", "delay": "1ms"},
            {"duplicate": 0.001, "reorder": 0.01, "corrupt": 0.0001, "delay_ns": MS},
        ),
        ({"queue": "200p"}, {"queue_packets": 200}),
        ({"queue": "64KiB"}, {"queue_packets": None, "queue_bytes": 65536}),
        (
            {"queue": "100ms", "rate": "10mbit"},
            {"rate_bps": 10_000_000, "queue_packets": None, "queue_bytes": 125_000},
        ),
        ({"aqm": "codel"}, {"aqm": "codel"}),
        (
            {"aqm": {"kind": "red", "min": "30kB", "max": "90kB", "probability": "2%"}, "ecn": True},
            {"aqm": "red", "aqm_options": {"min": 30_000, "max": 90_000, "probability": 0.02}, "ecn": True},
        ),
        (
            {"aqm": {"kind": "fq_codel", "target": "5ms", "ce-threshold": "1ms", "flows": 64}},
            {"aqm": "fq_codel", "aqm_options": {"target": 5 * MS, "ce_threshold": MS, "flows": 64}},
        ),
        ({"mtu": 1400}, {}),  # of the interface
    ],
)  # fmt: skip
def test_a_word_sets_its_fields_and_no_others(words, expected):
    assert shape(words) == Shape(**expected)


def test_each_word_is_laid_over_the_defaults_by_itself():
    below = shape({}, DEFAULTS)
    assert below == Shape(
        rate_bps=10**9, delay_ns=MS, jitter_ns=MS, jitter_distribution="normal", queue_packets=None,
        queue_bytes=6_250_000, loss=Loss(parameters=(0.01,)), aqm="fq_codel", ecn=True,
    )  # fmt: skip
    changed = shape({"delay": "9ms", "jitter": "3ms", "loss": "0%", "ecn": False}, DEFAULTS)
    assert changed == Shape(
        rate_bps=10**9, delay_ns=9 * MS, jitter_ns=3 * MS, jitter_distribution="normal", queue_packets=None,
        queue_bytes=6_250_000, aqm="fq_codel",
    )  # fmt: skip
    again = shape({"delay": "9ms"}, DEFAULTS, forward={"delay": "4ms"}, backward={"rate": "1mbit"})
    assert (again.delay_ns, again.rate_bps) == (4 * MS, 10**9)


def test_a_bandwidth_delay_product_is_of_both_delays_and_the_directions_rate():
    words = {"queue": "2bdp", "rate": "8mbit"}
    there, back = shapes(
        spec(), spec(words), spec({"delay": "10ms"}), spec({"delay": "30ms", "rate": "16mbit"})
    )
    assert there.queue_bytes == 2 * 40_000
    assert back.queue_bytes == 2 * 80_000


def test_a_short_queue_has_room_for_one_frame_of_the_links_mtu():
    assert shape({"queue": "1us", "rate": "1mbit"}).queue_bytes == 1514
    assert shape({"queue": "1us", "rate": "1mbit", "mtu": 9000}).queue_bytes == 9014


@pytest.fixture
def traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lte.down").write_text("".join(f"{ms}\n" for ms in range(1, 101)))
    return {"trace": "lte.down"}


def test_a_trace_is_a_rate_and_a_rate_lies_over_a_trace(traced):
    over = shape(traced, {"rate": "1gbit", "queue": "20ms"})
    assert (over.rate_bps, over.trace) == (None, "lte.down")
    assert over.queue_bytes == 20 * 1514  # a packet a millisecond
    under = shape({"rate": "1mbit"}, traced)
    assert (under.rate_bps, under.trace) == (1_000_000, None)


def test_the_traces_of_a_model_are_found_wherever_they_are(traced):
    class Wire(LinkSpec):
        forward: LinkSpec | None = None

    wire = Wire.model_validate({"rate": "1mbit", "forward": traced})
    assert [place for place, _ in specs(wire)] == [(), ("forward",)]
    assert collect(wire) == {"lte.down": traces.read(traces.Path("lte.down"))}
    assert collect(spec()) == {}


def walk(loss, steps, seed=1):
    """Losses as sch_netem.c's loss_gilb_ell() and loss_4state() draw them."""
    draw = random.Random(seed).random
    lost, state = [], 1
    for _ in range(steps):
        if loss.model == "gilbert-elliott":
            p, r, bad, good = loss.parameters
            was, moves = state, draw() < (p if state == 1 else r)
            state = 3 - state if moves else state
            lost.append(draw() < (good if was == 1 else bad))
            continue
        p13, p31, p32, p23, p14 = loss.parameters
        u = draw()
        if state == 1:
            state = 4 if u < p14 else 3 if u < p14 + p13 else 1
        elif state == 2:
            state = 3 if u < p23 else 2
        elif state == 3:
            state = 2 if u < p32 else 1 if u < p32 + p31 else 3
        else:
            state = 1
        lost.append(state in (3, 4))
    return lost


@pytest.mark.parametrize(
    "loss",
    [
        Loss(model="gilbert-elliott", parameters=(0.02, 0.2, 0.9, 0.01)),
        Loss(model="4-state", parameters=(0.02, 0.3, 0.2, 0.6, 0.01)),
        Loss(model="4-state", parameters=(0.05, 0.5, 0.0, 1.0, 0.0)),
    ],
)
def test_the_mean_of_a_model_is_what_it_loses_in_the_long_run(loss):
    lost = walk(loss, 400_000)
    assert sum(lost) / len(lost) == pytest.approx(mean_loss(loss), rel=0.03)


def test_a_mean_and_a_burst_are_what_the_model_made_of_them_loses():
    loss = gilbert_elliott(0.01, 4)
    assert mean_loss(loss) == pytest.approx(0.01)
    lost = walk(loss, 1_000_000)
    bursts = sum(1 for before, now in zip([False, *lost], lost, strict=False) if now and not before)
    assert sum(lost) / len(lost) == pytest.approx(0.01, rel=0.05)
    assert sum(lost) / bursts == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match=r"bursts of 4 can be at most 80% of all packets"):
        gilbert_elliott(0.81, 4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, "0s, queue 1000 packets"),
        ({"rate": "8mbit", "delay": "8ms", "queue": "1bdp"}, "8mbit, 8ms, queue 16kB"),
        (
            {"loss": {"model": "gilbert-elliott", "mean": "1%", "burst": 4}, "duplicate": "0.1%"},
            "0s, loss 1% in bursts of 4, duplicate 0.1%, queue 1000 packets",
        ),
        (
            {"jitter": {"by": "2ms", "distribution": "normal", "correlation": "25%"}, "delay": "5ms"},
            "5ms ± 2ms normal correlation 25%, queue 1000 packets",
        ),
        (
            {"rate": "1mbit", "aqm": {"kind": "red", "min": "30KiB", "probability": "2%"}, "ecn": True},
            "1mbit, 0s, queue 1000 packets, red min 30KiB probability 2% ecn",
        ),
        ({"loss": {"model": "4-state", "p13": "1%", "p31": "99%"}},
         "0s, loss 1% (4-state), queue 1000 packets"),
    ],
)  # fmt: skip
def test_a_shape_is_told_shortly(words, told):
    assert shown(shape(words)) == told


def test_a_trace_is_told_by_its_name(traced):
    assert shown(shape(traced)) == "lte.down, 0s, queue 1000 packets"


def test_jitter_without_a_distribution_leaves_the_one_there_is():
    below = Jitter(by_ns=1, distribution="normal", correlation=0.5)
    assert Jitter(by_ns=2).over(below) == Jitter(by_ns=2, distribution="normal", correlation=0.5)
    assert Jitter(by_ns=2, distribution="uniform").over(below).distribution == "uniform"
    assert impairments.change(jitter=Jitter(by_ns=2)) == {"jitter_ns": 2}


def test_the_shapes_of_an_access_are_of_both_its_directions(tmp_path):
    (tmp_path / "small.yaml").write_text(
        "name: small\n"
        "isps: {north: {asn: 64501, routers: [core],"
        " clients: {homes: {count: 1, at: core, access: cable}}}}\n"
        "access: {cable: {down: {rate: 8mbit, delay: 10ms, queue: 1bdp, mtu: 1400},"
        " up: {rate: 1mbit, delay: 30ms, queue: 10p, trace: null}}}\n"
        "cdn: {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],"
        " control: {at: cdn.pop}, origin: {at: cdn.pop}}\n"
        "links: [{endpoints: [north.core, cdn.pop], relation: peer, trace: sub/lte.up}]\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "lte.up").write_text("1\n2\n")
    job = bare(model.load_topology(tmp_path / "small.yaml"))
    home = job.link("north.homes.1--north.core")
    assert (home.a_to_b.queue_packets, home.b_to_a.queue_bytes) == (10, 40_000)
    ports = [port for node in job.nodes for port in node.interfaces if port.link == home.name]
    assert [port.mtu for port in ports] == [1400, 1400]
    assert job.link("north.core--cdn.pop").a_to_b.trace == "sub/lte.up"
    assert job.traces == {"sub/lte.up": Trace(period_ns=2 * MS, times_ns=(MS, 2 * MS))}
    assert Job.loads(job.dumps()) == job
