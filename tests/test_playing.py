"""Sessions as they are drawn from a workload."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from testbed import model
from testbed.plan import plan

METRO = Path(__file__).parent.parent / "topologies" / "metro.yaml"
S = 10**9


def planned(folder, *workload, seed=1):
    path = folder / "scenario.yaml"
    ladder = "{length: 60s, segment: 4s, bitrates: [235kbit, 750kbit, 1750kbit]}"
    path.write_text(
        f"name: example\ntopology: {METRO}\nduration: 4000s\nseed: {seed}\n"
        f"titles: {{a: {ladder}, b: {ladder}, c: {ladder}}}\n"
        "workload:\n" + "".join(f"  - {each}\n" for each in workload)
    )
    return plan(model.load_scenario(path))


def playback(more, arrivals="{kind: poisson, mean: 1s}"):
    return f"{{kind: playback, clients: north.homes, arrivals: {arrivals}, {more}}}"


def test_titles_are_chosen_by_zipfs_law(tmp_path):
    job = planned(tmp_path, playback("catalogue: {titles: [a, b, c], zipf: 1}"))
    counts = Counter(session.title for session in job.sessions)
    whole = 1 + 1 / 2 + 1 / 3
    for title, weight in (("a", 1), ("b", 1 / 2), ("c", 1 / 3)):
        assert counts[title] / len(job.sessions) == pytest.approx(weight / whole, abs=0.035)


def test_a_mix_draws_devices_by_their_shares(tmp_path):
    phone = "{share: 30%, name: phone, max-bitrate: 750kbit, buffer: 12s, abr: throughput}"
    mix = f"[{phone}, {{share: 20%, name: tv}}]"
    job = planned(tmp_path, playback(f"title: a, buffer: 60s, abr: bola, mix: {mix}"))
    counts = Counter(session.device for session in job.sessions)
    for device, share in (("phone", 0.3), ("tv", 0.2), ("", 0.5)):
        assert counts[device] / len(job.sessions) == pytest.approx(share, abs=0.035)
    seen = {(s.device, s.abr, s.buffer_ns, s.max_kbps) for s in job.sessions}
    assert seen == {
        ("phone", "throughput", 12 * S, 750), ("tv", "bola", 60 * S, 0), ("", "bola", 60 * S, 0)
    }  # fmt: skip


@pytest.mark.parametrize("distribution", ["exponential", "lognormal", "fixed"])
def test_viewers_stay_as_long_as_drawn(tmp_path, distribution):
    watch = f"watch: {{mean: 60s, distribution: {distribution}, sigma: 0.5}}"
    job = planned(tmp_path, playback(f"title: a, {watch}"))
    stays = [session.leave_ns for session in job.sessions]
    assert sum(stays) / len(stays) == pytest.approx(60 * S, rel=0.07)


def test_a_script_and_a_stay_end_at_whichever_is_first(tmp_path):
    script = "script: [{at: 40s, leave: true}, {at: 9s, seek: 30s}, {at: 5s, pause: 2s}]"
    (session, *_) = planned(
        tmp_path, playback(f"title: a, {script}, watch: {{mean: 50s, distribution: fixed}}")
    ).sessions
    assert session.leave_ns == 40 * S
    assert (session.pauses, session.seeks) == (((5 * S, 2 * S),), ((9 * S, 30 * S),))


def test_a_workload_is_drawn_apart_from_the_others(tmp_path):
    """What is added at the end changes nobody's sessions before it."""
    first = playback("title: a")
    alone = planned(tmp_path, first).sessions
    both = planned(tmp_path, first, playback("title: b")).sessions
    assert both[: len(alone)] == alone
    assert planned(tmp_path, first, seed=2).sessions != alone


def test_background_traffic_knows_its_ends(tmp_path):
    job = planned(
        tmp_path,
        "{kind: bulk, clients: north.homes, server: origin, at: 10s, lasts: 5s, congestion: reno}",
        "{kind: realtime, clients: south.phones, server: oca-n1}",
    )
    bulk, call = job.traffic
    assert (bulk.at_ns, bulk.ends_ns, len(bulk.clients)) == (10 * S, 15 * S, 8)
    assert bulk.parameters["congestion"] == "reno"
    assert (call.at_ns, call.ends_ns, call.server) == (0, 4000 * S, "oca-n1")
    assert call.address == job.node("oca-n1").address


def refusals(folder, *workload):
    with pytest.raises(model.Refused) as refused:
        planned(folder, *workload)
    return [f"{problem.path}: {problem.what}; {problem.hint}" for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (playback("buffer: 9s"), "workload.0: plays either a title or a catalogue; write title: film"),
        (playback("title: a, catalogue: {titles: [b]}"), "workload.0: plays either a title or a catalogue"),
        (playback("catalogue: {titles: [a, d]}"), "workload.0.catalogue.titles.1: there is no title 'd'"),
        (playback("title: a, script: [{at: 5s}]"), "workload.0.script.0: does one thing; write one of"),
        (playback("title: a, mix: [{share: 60%}, {share: 50%}]"), "workload.0: is a mix of more than 100%"),
        (playback("title: a, resume: 31s"), "workload.0.resume: 31s never fits into a buffer of 30s"),
        (playback("title: a", "{kind: poison, mean: 1s}"), "workload.0.arrivals.kind: there is no"),
        (playback("title: a", "{kind: poisson, mean: 1ms}"), "workload.0: with this one there are more"),
        (playback("title: a, abr: fixed"), "workload.0.abr: fixed needs more than its name; write {kind"),
        ("{kind: bulk, clients: north.home, server: origin}", "workload.0.clients: there is no population"),
        ("{kind: bulk, clients: north.homes, server: orign}", "workload.0.server: there is no node 'orign'"),
        ("{kind: bulks, clients: north.homes, server: origin}", "workload.0.kind: there is no kind 'bulks'"),
        ("{kind: realtime, clients: north.homes, server: origin, packet: 20B}", "workload.0: packets are of"),
        ("{kind: web, clients: north.homes, server: origin, at: 5000s}", "workload.0.at: 5000s"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_to_write(tmp_path, written, told):
    (problem,) = refusals(tmp_path, written)
    assert problem.startswith(told)
