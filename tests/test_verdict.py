from __future__ import annotations

import dataclasses
import json

import made
import polars as pl
import pytest

from testbed.evidence import FaultFinding
from testbed.measure.schema import TABLES
from testbed.verdict import CheckFinding, Judgement, conclude, judge

PROVEN = FaultFinding(1, "oca-crash", "oca-n1", took_hold=True, healed=True)


def check(outcome):
    return CheckFinding("sql", {}, outcome, "1", "equal to 1")


@pytest.mark.parametrize(
    ("outcomes", "rules", "code"),
    [
        ([], "pass", 0),
        (["pass", "pass"], "pass", 0),
        (["pass", "unknown"], "unknown", 4),
        (["unknown", "fail", "pass"], "fail", 1),
    ],
)
def test_the_worst_outcome_rules(outcomes, rules, code):
    judged = conclude([PROVEN], [check(outcome) for outcome in outcomes])
    assert (judged.verdict, judged.exit) == (rules, code)


@pytest.mark.parametrize(("took_hold", "words"), [(False, "never took hold"), (None, "nothing shows")])
def test_a_pass_without_its_fault_is_unknown(took_hold, words):
    fault = FaultFinding(1, "oca-crash", "oca-n1", took_hold=took_hold, healed=True)
    judged = conclude([fault], [check("pass"), check("fail")])
    assert [each.outcome for each in judged.checks] == ["unknown", "fail"]
    assert words in judged.checks[0].detail
    assert judged.verdict == "fail"
    assert conclude([fault], []).verdict == "unknown"


@pytest.mark.parametrize("healed", [False, None])
def test_a_fault_that_did_not_heal_makes_the_run_untrusted(healed):
    fault = FaultFinding(2, "link-down", "a--b", took_hold=True, healed=healed, detail="left behind: qdisc")
    judged = conclude([PROVEN, fault], [check("pass")])
    assert (judged.verdict, judged.checks[0].outcome) == ("unknown", "pass")
    assert judged.trust == ("fault 2 did not heal: left behind: qdisc",)


def test_a_good_run_passes_and_says_what_it_saw(tmp_path):
    run = made.run(tmp_path / "run")
    judged = judge(run)
    assert (judged.verdict, judged.exit, judged.trust) == ("pass", 0, ())
    assert judged.faults == (FaultFinding(1, "oca-crash", "oca-n1", took_hold=True, healed=True),)
    assert [each.kind for each in judged.checks] == [
        "rebuffer-ratio", "failover-time", "sessions-complete", "sql",
    ]  # fmt: skip
    assert judged.checks[1].measured == "p95 1.2s"
    assert Judgement.read(run) == judged
    assert set(json.loads((run / "verdict.json").read_text())) == {
        "verdict",
        "exit",
        "faults",
        "checks",
        "trust",
    }


def test_judging_again_leaves_the_same_bytes(tmp_path):
    run = made.run(tmp_path / "run")
    judge(run)
    paths = [run / "verdict.json", run / "tables" / "events.parquet"]
    first = [path.read_bytes() for path in paths]
    judge(run)
    assert [path.read_bytes() for path in paths] == first
    assert sorted(path.name for path in (run / "tables").iterdir()) == sorted(
        f"{name}.parquet" for name in made.FILLED
    )


def test_that_a_fault_took_hold_stands_behind_its_beginning(tmp_path):
    run = made.run(tmp_path / "run")
    judge(run)
    events = pl.read_parquet(run / "tables" / "events.parquet")
    assert events["phase"].to_list() == ["planned", "began", "took_hold", "ended", "healed"]
    assert events["t_ns"].is_sorted()
    assert events.columns == list(TABLES["events"].columns)


def test_a_fault_that_did_nothing_is_seen(tmp_path):
    run = made.run(tmp_path / "run", packets=made.sent(1, 15, 25))  # it sends while it should be dead
    judged = judge(run)
    assert (judged.faults[0].took_hold, judged.verdict) == (False, "unknown")
    assert {each.outcome for each in judged.checks} == {"unknown"}
    assert "took_hold" not in pl.read_parquet(run / "tables" / "events.parquet")["phase"].to_list()


@pytest.mark.parametrize(
    ("events", "detail"),
    [
        (made.happened((10, "began"), (20, "ended"), (20, "not-healed")), "left behind"),
        (made.happened((10, "began"), (20, "ended")), "did not compare"),
    ],
)
def test_what_the_guest_found_left_behind(tmp_path, events, detail):
    judged = judge(made.run(tmp_path / "run", events=events))
    assert (judged.faults[0].healed, judged.verdict) == (False, "unknown")
    assert detail in judged.faults[0].detail


def test_tables_that_show_a_fault_still_in_force_overrule_the_guest(tmp_path):
    judged = judge(made.run(tmp_path / "run", packets=made.sent(1)))  # it never sends again
    assert judged.faults[0].healed is False
    assert "still in force" in judged.faults[0].detail


def test_a_check_that_crashes_is_unknown_with_what_it_said(tmp_path):
    planned = made.job(
        checks=({"kind": "sql", "query": "select nonsense", "equals": 0}, {"kind": "no-such-check"})
    )
    judged = judge(made.run(tmp_path / "run", planned))
    assert [each.outcome for each in judged.checks] == ["unknown", "unknown"]
    assert "nonsense" in judged.checks[0].detail
    assert "no-such-check" in judged.checks[1].detail


def test_a_fault_of_an_unknown_kind_is_no_evidence(tmp_path):
    planned = made.job(faults=(dataclasses.replace(made.job().faults[0], kind="gone"),))
    judged = judge(made.run(tmp_path / "run", planned))
    assert judged.faults[0].took_hold is None
    assert judged.verdict == "unknown"


@pytest.mark.parametrize(
    ("captures", "reason"),
    [
        ([made.captured(7)], "the capture at oca-n1.eth0 lost 7 packets"),
        ([made.captured(0, 2)], "the capture at oca-n1.eth0 has 2 packets that cannot be read"),
        ([made.captured(None)], "the capture at oca-n1.eth0 does not say how many packets it lost"),
    ],
)
def test_a_capture_with_holes_makes_the_run_untrusted(tmp_path, captures, reason):
    judged = judge(made.run(tmp_path / "run", captures=captures))
    assert judged.trust == (reason,)
    assert judged.exit == 4


def test_a_process_that_died_by_itself_makes_the_run_untrusted(tmp_path):
    died = {
        "t_ns": 5,
        "fault": 0,
        "kind": "process",
        "target": "north.core/bird",
        "phase": "ended",
        "detail": "",
    }
    judged = judge(made.run(tmp_path / "run", events=[died, *made.STRUCK_AND_HEALED]))
    assert judged.trust == ("north.core/bird ended, though nobody asked it to",)
    assert judged.verdict == "unknown"


@pytest.mark.parametrize(("clock", "late_s", "trusted"), [
    ("wall", 0.01, True), ("wall", 0.4, False), ("virtual", 0.4, True),
])  # fmt: skip
def test_a_fault_that_came_late_on_the_wall_clock_makes_the_run_untrusted(tmp_path, clock, late_s, trusted):
    run = made.run(tmp_path / "run", made.job(clock=clock))
    path = run / "tables" / "events.parquet"
    late_ns = round(late_s * made.S)
    events = pl.read_parquet(path)
    began = pl.col("phase") == "began"
    events.with_columns(
        pl.when(began).then(pl.col("t_ns") + late_ns).otherwise(pl.col("t_ns")).alias("t_ns")
    ).write_parquet(path)
    words = "fault 1 struck 0.4 s late: too busy a machine for the wall clock"
    assert (words in judge(run).trust) is not trusted
