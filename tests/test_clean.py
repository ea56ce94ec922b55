"""`testbed clean` finds what nobody needs, shows it first, and lets alone what may be at work."""

import json
import os
import tempfile
import time

import pytest
from typer.testing import CliRunner

from testbed.cli import app

DAY_S = 86_400


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders of its own for runs, cache and temporary files; gives a function that makes a file there."""
    for name in ("runs", "cache", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def make(name, text="x", days=2.0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for each in (path, path.parent):
            os.utime(each, (time.time() - days * DAY_S,) * 2)
        return path

    return make


def run(place, name, reason=None, days=2.0):
    made = place(f"runs/{name}/job.json", "{}", days)
    if reason is not None:
        place(f"runs/{name}/run.json", json.dumps({"reason": reason}), days)
    return made.parent


def clean(tmp_path, *words):
    done = CliRunner().invoke(app, ["clean", "--out", str(tmp_path / "runs"), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_nothing_is_nothing(place, tmp_path):
    assert clean(tmp_path) == "nothing to clean\n"


def test_runs_that_never_finished_are_listed_and_go_only_when_told(place, tmp_path):
    killed, broken, whole = run(place, "a/one"), run(place, "a/two", "guest died"), run(place, "b/three", "")
    at_work = run(place, "b/four", days=0)
    told = clean(tmp_path)
    assert "add --yes to remove it" in told
    assert killed.exists()
    told = json.loads(clean(tmp_path, "--yes", "-f", "json"))
    assert told["removed"] is True
    assert {each["path"] for each in told["leftovers"]} == {str(killed), str(broken)}
    assert not killed.exists()
    assert not broken.exists()
    assert whole.exists()
    assert at_work.exists()


def test_old_runs_and_kernels_go_only_if_asked(place, tmp_path):
    old, young = run(place, "a/one", "", days=40), run(place, "a/two", "", days=2)
    idle = place("cache/testbed/kernel/6.1-0/linux", days=40).parent
    used = place("cache/testbed/kernel/6.2-0/linux", days=1).parent
    assert clean(tmp_path, "--yes") == "nothing to clean\n"
    clean(tmp_path, "--older", "720h", "--yes")
    assert not old.exists()
    assert not idle.exists()
    assert young.exists()
    assert used.exists()


def test_what_broken_builds_left_goes_after_a_day(place, tmp_path):
    gone = [
        place("cache/testbed/kernel/building-x/log"), place("cache/testbed/library/making-y/log"),
        place("tmp/testbed-1.traceback"),
    ]  # fmt: skip
    stays = place("cache/testbed/kernel/building-z/log", days=0.1), place("tmp/others.traceback")
    clean(tmp_path, "--yes")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)


def test_latest_leads_to_what_is_left(place, tmp_path):
    kept, gone = run(place, "a/20260101", ""), run(place, "a/20260202", "guest died")
    for link, target in (("runs/latest", "a/20260202"), ("runs/a/latest", "20260202")):
        (tmp_path / link).symlink_to(target)
    os.utime(gone, (time.time() - 2 * DAY_S,) * 2)
    clean(tmp_path, "--yes")
    assert not gone.exists()
    assert (tmp_path / "runs" / "latest").resolve() == kept
    assert (tmp_path / "runs" / "a" / "latest").resolve() == kept


def test_a_time_without_unit_is_refused(place, tmp_path):
    done = CliRunner().invoke(app, ["clean", "--out", str(tmp_path), "--older", "30"])
    assert done.exit_code == 2
    assert "30" in done.stderr
