"""`testbed steer` decides again from steering's log alone: what it knew then, and nothing later."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed import pipeline
from testbed.cli import app
from testbed.measure.steering import decisions

ROOT = Path(__file__).parent.parent
S = 10**9


def report(oca, *prefixes, titles=("film",)):
    routes = [{"prefix": prefix, "as_path": [64501], "med": None} for prefix in prefixes]
    return {"oca": oca, "healthy": True, "titles": list(titles), "routes": routes, "address": "10.1.32.1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which only the job and steering's log are left."""
    folder = tmp_path_factory.mktemp("run")
    job = pipeline.plan(ROOT / "scenarios" / "oca-crash.yaml")
    (folder / "job.json").write_text(job.dumps())
    t0_ns = job.epoch_ns + 20 * S
    guest = {"finished": True, "t0_unix_ns": t0_ns, "end_unix_ns": t0_ns + 180 * S}
    (folder / "guest.json").write_text(json.dumps(guest))
    said = [
        (-10, {"started": True}),
        (-9, {"report": report("oca-n1", "10.1.0.0/16", "2001:db8:1::/48")}),
        (-8, {"report": report("oca-ix1", "10.1.0.0/16", "10.2.0.0/16")}),
        (1, {"again": "oca-n1", "load": {"connections": 3, "bps": 1000}}),
        (2, {"again": "oca-ix1", "load": {"connections": 0, "bps": 0}}),
        (10, {"drain": "oca-n1", "draining": True}),
        (11, {"again": "oca-n1", "load": {"connections": 3, "bps": 1000}}),
        (12, {"again": "oca-ix1", "load": {"connections": 0, "bps": 0}}),
        (14, {"drain": "oca-n1", "draining": False}),
        (20, {"started": True}),
        (21, {"report": report("oca-ix1", "10.1.0.0/16")}),
    ]
    log = folder / "logs" / "steering" / "steering.log"
    log.parent.mkdir(parents=True)
    lines = [json.dumps({"unix_ns": t0_ns + at * S, **row}) for at, row in said]
    log.write_text("\n".join([*lines, "Traceback (most recent call last):", "  no object"]) + "\n")
    return folder


def steer(*arguments):
    return CliRunner().invoke(app, ["steer", *map(str, arguments)])


def asked(run, at, client="10.1.64.1", title="film"):
    told = steer(run, client, title, "--at", at, "-f", "json")
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


def ocas(*arguments, **given):
    return [url["oca"] for url in asked(*arguments, **given)["urls"]]


def test_it_knows_what_was_reported_up_to_then(run):
    assert ocas(run, "3s") == ["oca-n1", "oca-ix1", "origin"]
    assert (ocas(run, "11.5s"), asked(run, "11.5s")["miss"]) == (["oca-ix1", "origin"], "other miss")
    assert ocas(run, "15s") == ["oca-n1", "oca-ix1", "origin"]
    assert ocas(run, "20.5s") == ["origin"]  # a new process has heard nothing yet
    assert ocas(run, "22s") == ["oca-ix1", "origin"]
    assert ocas(run, "60s") == ["origin"]


def test_any_address_may_be_asked_for(run):
    assert ocas(run, "3s", client="10.2.64.9") == ["oca-ix1", "origin"]
    assert ocas(run, "3s", client="2001:db8:1:1001::a01:4001") == ["oca-n1", "origin"]


def test_people_read_why(run):
    told = steer(run, "10.1.64.1", "film", "--at", "11.5s").stdout
    assert "10.1.64.1 (10.1.64.1) asks for film at 11.5s" in told
    assert "draining" in told
    assert "other miss" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody.1", "film"), "nobody.1 is neither a node of this run nor an address"),
        (("north.homes.1", "film", "--at", "soon"), "--at: 'soon'"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, said):
    told = steer(run, *arguments)
    assert told.exit_code == 2
    assert said in told.output


def test_a_title_that_nobody_has_is_an_answer_too(run):
    assert (asked(run, "3s", title="none")["status"], asked(run, "3s", title="none")["error"]) == (
        404, "no title none",
    )  # fmt: skip


def test_a_log_without_decisions_makes_an_empty_table(run):
    job = pipeline.plan(ROOT / "scenarios" / "oca-crash.yaml")
    assert decisions(run, job, 0) == []
