from __future__ import annotations

import random
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from testbed import model, registry
from testbed.arrivals.trace import times

S = 10**9
MIN = 60 * S
METRO = Path(__file__).parent.parent / "topologies" / "metro.yaml"
KINDS = registry.kinds("arrivals")


def starts(kind, clients=5, until_ns=100 * MIN, seed=1, **values):
    return list(KINDS[kind](**values).starts(random.Random(seed), clients, until_ns))


def test_every_client_starts_once_in_order():
    assert starts("every", clients=3, every=2 * S, first=S) == [(S, 0), (3 * S, 1), (5 * S, 2)]


def test_poisson_arrivals_are_exponentially_apart_and_anywhere():
    found = starts("poisson", mean=S)
    gaps = [after - before for (before, _), (after, _) in pairwise(found)]
    # 6000 of them: the mean within four standard errors, and the deviation of an exponential is its mean
    assert statistics.mean(gaps) / S == pytest.approx(1, abs=4 / 6000**0.5)
    assert statistics.stdev(gaps) / S == pytest.approx(1, abs=0.1)
    counts = [sum(client == number for _, client in found) for number in range(5)]
    assert min(counts) > 1200 - 4 * 31


def test_the_same_seed_gives_the_same_arrivals():
    assert starts("poisson", mean=S) == starts("poisson", mean=S)
    assert starts("poisson", mean=S) != starts("poisson", mean=S, seed=2)


def test_a_day_has_its_peak_and_its_trough():
    found = [t_ns for t_ns, _ in starts("diurnal", mean=S, period=100 * MIN, peak=50 * MIN, trough=0.2)]
    peak = sum(45 * MIN <= t_ns < 55 * MIN for t_ns in found)
    trough = sum(t_ns < 5 * MIN or t_ns >= 95 * MIN for t_ns in found)
    # the mean of the cosine over a tenth of the period around its top is 0.984
    assert peak == pytest.approx(600 * (0.2 + 0.8 * 0.992), rel=0.16)
    assert trough == pytest.approx(600 * (0.2 + 0.8 * 0.008), rel=0.36)


def test_a_flash_crowd_comes_at_once_and_goes():
    found = [t_ns for t_ns, _ in starts("flash-crowd", mean=S, at=50 * MIN, times=10, decay=MIN)]
    before = sum(t_ns < 50 * MIN for t_ns in found)
    within = sum(50 * MIN <= t_ns < 51 * MIN for t_ns in found)
    assert before == pytest.approx(3000, rel=0.08)
    # a minute of the base, and 9 times (1 - 1/e) minutes of it on top
    assert within == pytest.approx(60 * (1 + 9 * 0.632), rel=0.21)


def test_a_trace_is_cut_at_the_end():
    assert [t_ns for t_ns, _ in starts("trace", at=[0, S, 3 * S], until_ns=2 * S)] == [0, S]


def test_a_trace_comes_from_a_column_of_a_file(tmp_path):
    (tmp_path / "views.csv").write_text("client, Time\nx,0\n\ny,500ms\nz,1.5\nz,1.5s\n")
    (tmp_path / "scenario.yaml").write_text(
        f"""
name: observed
topology: {METRO}
duration: 2s
titles: {{film: {{length: 60s, segment: 4s, bitrates: [235kbit]}}}}
workload:
  - {{kind: playback, clients: north.homes, title: film, arrivals: {{kind: trace, file: views.csv}}}}
"""
    )
    ((_, playback),) = model.load_scenario(tmp_path / "scenario.yaml").scenario.playbacks
    found = [t_ns for t_ns, _ in playback.arrivals.starts(random.Random(1), 5, 2 * S)]
    assert found == [0, S // 2, 3 * S // 2, 3 * S // 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "views.csv:1: there is no column time"),
        ("when\n1\n", "views.csv:1: there is no column time"),
        ("time\n", "views.csv has no times"),
        ("time\n1\n\n0.5\n", "views.csv:4: 500ms comes after 1s"),
        ("client,time\nhome\n", "views.csv:2: '' is no time; write for example 1.5s, or 1.5"),
        ("time\nnoon\n", "views.csv:2: 'noon' is no time"),
        ("time\n-1\n", "views.csv:2: '-1' is no time"),
    ],
)
def test_what_is_no_list_of_times_says_where_and_what_to_write_instead(tmp_path, text, message):
    (tmp_path / "views.csv").write_text(text)
    with pytest.raises(ValueError, match=f"{message}.*; write |{message}$"):
        times("views.csv", tmp_path / "views.csv")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("poisson", {"mean": 0}),
        ("diurnal", {"mean": S, "period": 0}),
        ("flash-crowd", {"mean": S, "at": 0, "times": 0.5}),
        ("trace", {"at": []}),
        ("trace", {"at": [2, 1]}),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(kind, values):
    with pytest.raises(ValueError, match="; write for example "):
        KINDS[kind](**values)
