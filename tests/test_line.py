"""The line, its queues and what is read back of them, in the guest kernel (experiments: tests/wires.py)."""

import ast
import collections
import itertools
import json
import re
from pathlib import Path

import pytest
import wires
from wires import FEW, MS, RATES, S

from testbed.emulate import path
from testbed.job import Job, Node, Process
from testbed.venues.guest import Guest

pytestmark = pytest.mark.guest

FULL = 1514
NOISE_NS = 1_000  # while a sender reads the clock, which takes 256 ns, nobody else runs
TICKS_NS = 3  # a timer of User-Mode Linux goes off 1 ns late: netem's, the line's; and what rounding costs
LTE = Path(__file__).parents[2] / "shared" / "data" / "traces" / "ATT-LTE-driving-2016.down"


def lte():
    """(period, opportunities) of a real trace in Mahimahi's format: a line an opportunity, in ms."""
    times = [int(line) * MS for line in LTE.read_text().split()]
    return times[-1], times


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = tmp_path_factory.mktemp("wires")
    config = {}
    if LTE.exists():
        config["period_ns"], config["times_ns"] = lte()
    bench = Node(
        name="bench",
        role="host",
        processes=(Process(name="wires", service="wires:run", config=config),),
    )
    job = Job(
        scenario="wires", topology="bench", seed=7, clock="virtual", duration_ns=200 * S,
        epoch_ns=1_767_225_600 * S, zone="cdn.example", nodes=(bench,), links=(), sample_ns=60 * S,
    )  # fmt: skip
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    assert (run / "wires.json").exists(), (run / "logs" / "bench" / "wires.log").read_text()
    return json.loads((run / "wires.json").read_text())


def test_delay_and_serialisation_are_exact_for_every_size(found):
    assert len(found["exact"]) == 5 * len(wires.SIZES)
    for took, length in found["exact"]:
        wanted = wires.EXACT.delay_ns + length * 8 * S / wires.EXACT.rate_bps
        assert wanted <= took <= wanted + TICKS_NS


def test_a_queue_of_n_packets_drops_the_next_one(found):
    assert found["queue"] == [list(range(20)), list(range(20)), [0]]


def test_the_rate_is_exact_over_ten_seconds(found):
    times = found["rate"]
    assert len(times) == 10_250
    assert times[-1] - times[0] > 10 * S
    for count, time_ns in enumerate(times):  # no drift: the last packet is as exact as the second
        assert abs(time_ns - times[0] - count * FULL * 8 * S / wires.RATE.rate_bps) <= TICKS_NS


def ends(work_bits, rates):
    """When each of so many equal works is done, at rates from times on: [(time, bits/s), …] from 0."""
    times, done_ns, left = [], 0.0, 0.0
    steps = iter([*rates[1:], (float("inf"), 0)])
    until, after = next(steps)
    rate = rates[0][1]
    for bits in work_bits:
        left = bits
        while True:
            needed = left * S / rate if rate else float("inf")
            if done_ns + needed <= until:
                done_ns += needed
                break
            left -= rate * (until - done_ns) / S
            done_ns, rate = until, after
            until, after = next(steps)
        times.append(done_ns)
    return times


def test_a_new_rate_holds_from_the_bit_being_sent_on(found):
    rates, came = found["rate_change"]
    delay = wires.CHANGED.delay_ns
    wanted = ends([FULL * 8] * 60, [(max(at - delay, 0), rate) for at, rate in rates])
    assert [number for number, _ in came] == list(range(60))
    for (_, time_ns), done_ns in zip(came, wanted, strict=True):
        assert abs(time_ns - delay - done_ns) <= 10 * TICKS_NS  # the rates are as 10 to 1


def test_a_trace_of_rates_is_followed_through_outages_and_before_its_start(found):
    start, first, times = found["rate_trace"]
    steps = [
        (start + period * RATES.period_ns + time_ns - first, rate)
        for period in range(-3, 20)
        for time_ns, rate in zip(RATES.times_ns, RATES.rates_bps, strict=True)
    ]
    now = max(index for index, (time_ns, _) in enumerate(steps) if time_ns <= 0)
    wanted = ends([FULL * 8] * 400, [(0, steps[now][1]), *steps[now + 1 :]])
    assert len(times) == 400
    for time_ns, done_ns in zip(times, wanted, strict=True):
        assert abs(time_ns - first - done_ns) <= TICKS_NS


@pytest.mark.skipif(not LTE.exists(), reason=f"needs {LTE.name} of Mahimahi's traces beside the project")
def test_a_real_trace_is_delivered_within_a_packet_in_every_bin(found):
    start, times, wrong = found["opportunities"]
    assert wrong == []
    period, times_ns = lte()
    # what comes at the end of one repetition comes in the instant in which the next one begins
    due = sorted(time_ns % period for time_ns in times_ns)
    wanted = collections.Counter(time_ns // (100 * MS) for time_ns in due if time_ns < 30 * S)
    delivered = collections.Counter((time_ns - start) // (100 * MS) for time_ns in times)
    assert sum(wanted.values()) > 1_000
    assert all(abs(delivered[number] - wanted[number]) <= 1 for number in range(300))
    for time_ns, due_ns in zip(times, due, strict=False):
        assert abs(time_ns - start - due_ns) <= TICKS_NS


def test_opportunities_are_shared_added_up_and_lost(found):
    came = [(number, time_ns // MS) for number, time_ns in found["shared_opportunities"]]
    assert came == [(0, 60), (1, 60), (2, 60), (3, 70), (4, 70), (5, 150), (6, 210)]
    assert all(time_ns % MS <= TICKS_NS for _, time_ns in found["shared_opportunities"])
    assert FEW.times_ns[-1] == FEW.period_ns  # so that one comes at the turn from a repetition to the next


@pytest.mark.parametrize("aqm", wires.MANAGED)
def test_each_management_drops_and_marks_by_itself(found, aqm):
    sent, delivered, marked, counters = found["overload"][f"{aqm} False"]
    assert delivered + counters["drops"] == sent
    assert (counters["marks"], marked) == (0, 0)
    assert (counters["aqm_drops"] > 0) == (aqm != "fifo")
    sent, delivered, marked, counters = found["overload"][f"{aqm} True"]
    assert delivered + counters["drops"] == sent
    assert marked <= counters["marks"] <= marked + counters["drops"]
    assert (marked > 0) == (aqm != "fifo")


def test_who_overtakes_still_waits_for_the_line(found):
    came = found["overtaking"]
    assert sorted(number for number, _ in came) == list(range(200))
    assert [number for number, _ in came] != list(range(200))
    for (_, before), (_, after) in itertools.pairwise(came):
        assert after - before >= 1000 * 8 * S // wires.OVERTAKING.rate_bps - NOISE_NS


@pytest.mark.parametrize("model", wires.LOSSY)
def test_a_change_of_one_value_leaves_what_is_drawn(found, model):
    plain, changed, other = found["changed_between"][model]
    assert plain == changed
    assert plain != other
    assert 100 < len(plain) < 1_000


def test_which_bit_is_flipped_comes_from_the_seed(found):
    first, again, other = found["damage"]
    assert first == again
    assert first != other


def test_a_queue_becomes_one_of_another_kind(found):
    for delivered, drops, wrong in found["kinds_change"]:
        assert (delivered, drops, wrong) == (10, 0, [])


def test_what_was_asked_for_is_read_back(found):
    right, wrong, lacks, with_more = found["read_back"]
    assert {name: said for name, said in right.items() if said} == {}
    assert [name for name, said in wrong.items() if not said and not name.startswith("tc ")] == []
    assert lacks == []
    assert with_more == ["sfq"]
    assert len(wrong["path delay_ns"]) == 1
    assert len(wrong["path queue_packets"]) == 1
    assert "loss should be ['random', 0.0123" in wrong["path loss"][0]
    assert "queue should be pfifo, and the kernel has codel" in wrong["path aqm"][0]
    assert [line.partition(": ")[2] for line in wrong["none"]] == [
        f"the {place} should be {kind}, and the kernel has nothing"
        for place, kind in (("path", "netem"), ("line", "line"), ("queue", "pfifo"))
    ]


@pytest.mark.parametrize("name", [name for name in wires.BY_TC if name in wires.COMBINED])
def test_tc_sets_the_same_with_the_words_of_its_page(found, name):
    """Not with this line's rate: it is the queue that tc was told about."""
    _, wrong, _, _ = found["read_back"]
    assert [line for line in wrong[f"tc {name}"] if "line's rate_bps" not in line] == []


def test_what_tc_changed_is_noticed(found):
    _, wrong, _, _ = found["read_back"]
    said = "interface [0-9]+: netem's delay_ns should be 2000000, and the kernel has 7000000"
    assert any(re.fullmatch(said, line) for line in wrong["tc delay"])


@pytest.mark.parametrize(("name", "model"), [("bursts", "gilbert-elliott"), ("states", "4-state")])
def test_chains_of_losses_are_those_of_tc(found, name, model):
    """tc rounds otherwise, by one in 2**32."""
    _, wrong, _, _ = found["read_back"]
    (line,) = (line for line in wrong[f"tc {name} by tc"] if "netem's loss" in line)
    kind, *values = ast.literal_eval(line.partition("the kernel has ")[2])
    wanted = path.read(path.options(wires.LOSSY[model]))["loss"]
    assert kind == wanted[0]
    assert values == pytest.approx(wanted[1:], abs=1e-9)
