from __future__ import annotations

import xml.etree.ElementTree as ET
from importlib.metadata import entry_points
from pathlib import Path

import made
import numpy as np  # noqa: F401 - a pytest inside a pytest imports anew whatever is not there yet: slow
import polars as pl  # noqa: F401
import pytest

import testbed.measure.tables  # noqa: F401
from testbed import pipeline
from testbed.model import Refused
from testbed.venues import Lack, VenueError

pytest_plugins = ["pytester"]

INSTALLED = any(entry.value == "testbed.pytest_plugin" for entry in entry_points(group="pytest11"))
LOADED = () if INSTALLED else ("-p", "testbed.pytest_plugin")


@pytest.fixture
def scenarios(pytester):
    """A folder with two scenarios, a topology and something else."""
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(f"name: {name}\ntopology: t.yaml\nduration: 30s\n")
    (folder / "metro.yaml").write_text("name: metro\nisps: {}\n")
    (folder / "compose.yml").write_text("services: {}\n")
    return folder


def test_every_scenario_file_is_a_test(pytester, scenarios):
    result = pytester.runpytest(*LOADED, "--collect-only", "-q", scenarios)
    assert [line for line in result.outlines if "::" in line] == [
        "scenarios/one.yaml::one", "scenarios/two.yaml::two",
    ]  # fmt: skip


def test_a_run_that_passes_is_a_test_that_passes(pytester, scenarios, monkeypatch):
    venue = made.use(monkeypatch)
    result = pytester.runpytest(
        *LOADED, scenarios, "--testbed-out", "out", "--testbed-seed", "9", "--junitxml", "junit.xml"
    )
    result.assert_outcomes(passed=2)
    assert len(venue.ran) == 2
    cases = list(ET.parse(pytester.path / "junit.xml").iter("testcase"))
    assert [case.get("name") for case in cases] == ["one", "two"]
    properties = {each.get("name"): each.get("value") for each in cases[0].iter("property")}
    assert set(properties) == {"testbed.run", "testbed.seed", "testbed.digest"}
    assert properties["testbed.seed"] == "9"
    assert (pytester.path / properties["testbed.run"] / "report.html").is_file()
    assert Path(properties["testbed.run"]).parts[:2] == ("out", "made")


def failure(pytester, scenarios, *options):
    """What pytest says about the one scenario that fails."""
    result = pytester.runpytest(*LOADED, scenarios / "one.yaml", *options)
    result.assert_outcomes(failed=1)
    assert "Traceback" not in result.stdout.str()
    return result.stdout


def test_the_check_that_failed_is_named_with_its_numbers(pytester, scenarios, monkeypatch):
    rows = [made.viewed("s0001"), made.viewed("s0002", outcome="error")]
    made.use(monkeypatch, made.Venue(sessions=rows))
    told = failure(pytester, scenarios)
    told.fnmatch_lines(
        [
            "fail: sessions-complete: measured 50%, wanted at least 100%; *s0002 error*",
            "fail: sql: measured 1, wanted equal to 0; *",
            "report: *report.html",
            "reproduce: testbed reproduce *",
        ]
    )
    told.no_fnmatch_line("*failover-time*")


def test_unknown_is_a_failure(pytester, scenarios, monkeypatch):
    made.use(monkeypatch, made.Venue(packets=made.sent(1, 15, 25)))
    failure(pytester, scenarios).fnmatch_lines(
        ["unknown: rebuffer-ratio: *", "unknown: fault 1 never took hold"]
    )


def test_a_run_that_did_not_finish_is_a_failure(pytester, scenarios, monkeypatch):
    made.use(monkeypatch, made.Venue(breaks=VenueError("the guest hangs", "last words")))
    failure(pytester, scenarios).fnmatch_lines(
        ["unknown: the run did not finish: the guest hangs", "  | last words"]
    )


def test_a_scenario_that_is_refused_fails_with_its_errors(pytester, scenarios, monkeypatch):
    made.use(monkeypatch)

    def refuse(*_):
        raise Refused(["one.yaml:1:1: name: wrong; write another"])

    monkeypatch.setattr(pipeline, "plan", refuse)
    failure(pytester, scenarios).fnmatch_lines(["one.yaml:1:1: name: wrong; write another"])


def test_a_lacking_venue_fails_unless_told_to_skip(pytester, scenarios, monkeypatch):
    made.use(monkeypatch, made.Venue(lacks=[Lack("no kernel", "testbed kernel build")]))
    failure(pytester, scenarios).fnmatch_lines(["*no kernel*", "*testbed kernel build*"])
    result = pytester.runpytest(*LOADED, scenarios, "--testbed-skip-missing", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*no kernel (testbed kernel build)*"])


def test_a_mistake_of_ours_shows_its_traceback(pytester, scenarios, monkeypatch):
    monkeypatch.setattr(pipeline, "plan", lambda *_: 1 / 0)
    pytester.runpytest(*LOADED, scenarios / "one.yaml").stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_scenarios_run_side_by_side(pytester, scenarios):
    pytester.makeconftest(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import made, pytest
        made.use(pytest.MonkeyPatch())
        """
    )
    result = pytester.runpytest_subprocess(*LOADED, "-n", "2", "-p", "no:cacheprovider", scenarios)
    result.assert_outcomes(passed=2)
    runs = sorted((pytester.path / "runs" / "made").glob("2*"))
    assert len(runs) == 2
    assert (pytester.path / "runs" / "latest").resolve() in runs
