from __future__ import annotations

import hashlib
import json

import made
import pytest

from testbed import pipeline
from testbed.daemons.bird import Bird
from testbed.job import Node, Process
from testbed.routing import Routing
from testbed.venues import Lack, VenueError


def silent(stage, done, of):
    pass


@pytest.fixture
def here(tmp_path, monkeypatch):
    made.use(monkeypatch)
    return tmp_path / "runs"


def told(run):
    return json.loads((run / "run.json").read_text())


def test_a_run_leaves_its_whole_folder(here):
    result = pipeline.run(made.job(), made.Venue(), here, silent)
    assert (result.verdict, result.exit, result.seed, result.virtual_s) == ("pass", 0, 1, 30.0)
    assert result.run.parent == here / "made"
    for name in (
        "job.json",
        "guest.json",
        "verdict.json",
        "report.html",
        "run.json",
        "tables/sessions.parquet",
    ):
        assert (result.run / name).is_file(), name
    record = told(result.run)
    assert record["versions"]["polars"]
    assert record["versions"]["testbed"]
    assert (record["venue"], record["clock"], record["seed"], record["exit"]) == ("made", "virtual", 1, 0)
    assert record["digest"] == result.digest
    assert list(record["stages_s"]) == ["venue", "tables", "checks", "report"]
    assert list(record["stages_cpu_s"]) == list(record["stages_s"])
    assert 0 < sum(record["stages_cpu_s"].values()) <= record["cpu_s"]


def test_digests_are_those_of_the_files(here):
    result = pipeline.run(made.job(), made.Venue(), here, silent)
    files = told(result.run)["files"]
    assert sorted(files) == sorted(
        ["captures/oca-n1.eth0.pcap", "events.jsonl", *(f"tables/{name}.parquet" for name in made.FILLED)]
    )
    for name, value in files.items():
        assert hashlib.sha256((result.run / name).read_bytes()).hexdigest() == value


def test_equal_runs_have_equal_digests_and_others_have_not(here):
    first, again, other = (
        pipeline.run(made.job(seed=seed), made.Venue(), here, silent) for seed in (1, 1, 2)
    )
    assert first.run != again.run
    assert first.digest == again.digest != other.digest
    assert pipeline.differences(first.run, again.run) == []
    assert pipeline.differences(first.run, other.run) == ["captures/oca-n1.eth0.pcap"]


def test_latest_leads_to_the_last_run(here):
    first = pipeline.run(made.job(), made.Venue(), here, silent).run
    assert pipeline.find("latest", here) == pipeline.find("made/latest", here) == here / "made" / first.name
    last = pipeline.run(made.job(), made.Venue(), here, silent).run
    found = pipeline.find("latest", here)
    assert found.samefile(last)
    assert found.name == last.name
    assert sorted(path.name for path in here.iterdir()) == ["latest", "made"]


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(pipeline.NoSuchRun, match="latest is no run folder"):
        pipeline.find("latest", tmp_path)


def test_a_venue_that_lacks_something_starts_nothing(here):
    venue = made.Venue(lacks=[Lack("nginx", "apt install nginx")])
    with pytest.raises(pipeline.Lacking, match="nginx"):
        pipeline.run(made.job(), venue, here, silent)
    assert venue.ran == []
    assert not here.exists()


def test_a_job_with_programs_that_are_not_installed_starts_nothing(here, monkeypatch):
    """A routing daemon by the package it comes in, anything else by its own name."""
    monkeypatch.setattr(pipeline, "PROGRAMS_PATH", str(here))
    bird = Bird("/run").processes(Routing(node="r", role="router", asn=1, router_id="1.1.1.1", families=(4,)))
    other = Process(name="stayrtr", argv=("stayrtr", "-bind", ":323"))
    nodes = (Node(name="r", role="router", processes=bird), Node(name="c", role="host", processes=(other,)))
    with pytest.raises(pipeline.Lacking) as lacking:
        pipeline.run(made.job(nodes=nodes, links=()), made.Venue(), here, silent)
    assert [(lack.what, lack.fix) for lack in lacking.value.lacks] == [
        ("the program bird", "sudo apt-get install bird2"),
        ("the program stayrtr", "sudo apt-get install stayrtr"),
    ]
    assert not here.exists()


def test_a_run_that_its_venue_cannot_finish_keeps_its_evidence(here):
    venue = made.Venue(breaks=VenueError("the guest panicked", "line 1\nKernel panic"))
    result = pipeline.run(made.job(), venue, here, silent)
    assert (result.exit, result.verdict, result.digest) == (3, "unknown", "")
    record = told(result.run)
    assert (record["exit"], record["reason"], record["console"]) == (
        3,
        "the guest panicked",
        ["line 1", "Kernel panic"],
    )
    assert pipeline.find("latest", here).samefile(result.run)
    with pytest.raises(pipeline.Unfinished):
        pipeline.judge(result.run)


def test_an_interrupted_run_says_so(here):
    venue = made.Venue(breaks=KeyboardInterrupt())
    with pytest.raises(pipeline.Interrupted) as caught:
        pipeline.run(made.job(), venue, here, silent)
    record = told(caught.value.run)
    assert (record["exit"], record["reason"], record["virtual_s"]) == (130, "interrupted", 0)


def test_a_run_that_was_told_to_end_says_so(here):
    with pytest.raises(SystemExit):
        pipeline.run(made.job(), made.Venue(breaks=SystemExit(143)), here, silent)
    assert told(pipeline.find("latest", here))["reason"] == "ended with 143"


def test_a_stage_that_crashes_leaves_the_run_to_be_judged_again(here, monkeypatch):
    monkeypatch.setattr(pipeline, "tabulate", lambda run, progress=None: 1 / 0)
    result = pipeline.run(made.job(), made.Venue(), here, silent)
    assert (result.exit, result.digest) == (4, "")
    assert "tables failed: ZeroDivisionError" in result.reason
    assert "ZeroDivisionError" in (result.run / "traceback.txt").read_text()
    assert pipeline.judge(result.run).verdict == "pass"


def test_progress_is_told(here):
    stages = []
    pipeline.run(made.job(), made.Venue(), here, lambda stage, done, of: stages.append((stage, done, of)))
    assert stages == [("virtual time", 15, 30), ("checks", 0, 1), ("report", 0, 1)]


def test_keys_at_the_top_of_a_file_are_seen_without_parsing(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("topology: x\n# duration: 1s\n  faults: 1\nduration : [\n")
    assert pipeline.top_level_keys(path) == {"topology", "duration"}
    path.write_bytes(b"\xff\xfe")
    assert pipeline.top_level_keys(path) == frozenset()
