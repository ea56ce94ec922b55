from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import made
import pytest
from typer.testing import CliRunner

from testbed import cli, doctor, pipeline, registry, terminal
from testbed.model import Refused
from testbed.venues import Lack, VenueError

VERBS = (
    "validate",
    "plan",
    "run",
    "check",
    "query",
    "report",
    "reproduce",
    "doctor",
    "kinds",
    "schema",
    "shell",
    "graph",
    "import",
    "kernel",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, where runs are made by hand."""
    monkeypatch.chdir(tmp_path)
    made.use(monkeypatch)
    return tmp_path


def call(*arguments, **environment):
    return CliRunner().invoke(cli.app, arguments, env=environment)


def ran(*arguments):
    """The answer of a `run`, which must go well."""
    result = call("run", "made.yaml", "-f", "json", "-q", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS), ("kernel", "build"), ("kernel", "path")])
def test_every_verb_explains_itself_by_an_example(verb):
    result = call(*verb, "--help")
    assert result.exit_code == 0
    assert verb in (("kernel",), ("import",)) or f"Example: testbed {' '.join(verb)}" in result.stdout


def test_the_version():
    assert call("--version").stdout.startswith("testbed 0")


class TestRun:
    def test_interrupted_it_says_what_is_left(self, here, monkeypatch):
        made.use(monkeypatch, made.Venue(breaks=KeyboardInterrupt()))
        result = call("run", "made.yaml")
        assert result.exit_code == 130
        assert "nothing is left running" in result.stderr
        assert f"lie in {pipeline.find('latest', Path('runs'))}" in result.stderr

    def test_a_run_on_the_wall_clock_is_not_called_virtual(self, here, monkeypatch):
        monkeypatch.setattr(pipeline, "plan", lambda *_: made.job(clock="wall"))
        shown = call("run", "made.yaml").stdout
        assert "s of wall-clock time in" in shown
        assert "not to the byte" in shown

    def test_json_is_one_object_with_what_was_promised(self, here):
        answer = ran()
        assert set(answer) == {"run", "verdict", "exit", "seed", "virtual_s", "real_s", "digest"}
        assert (answer["verdict"], answer["exit"], answer["seed"], answer["virtual_s"]) == (
            "pass",
            0,
            1,
            30.0,
        )
        assert (here / answer["run"] / "report.html").is_file()

    def test_progress_goes_to_stderr(self, here):
        result = call("run", "made.yaml", "-f", "json")
        json.loads(result.stdout)
        assert "virtual time 15 of 30 s" in result.stderr
        assert call("run", "made.yaml", "-f", "json", "--quiet").stderr == ""

    def test_people_see_the_verdict_the_faults_and_where_to_go_on(self, here):
        result = call("run", "made.yaml")
        for words in (
            "failover-time",
            "p95 1.2s",
            "oca-crash",
            "oca-n1",
            "report.html",
            "testbed reproduce runs/made",
        ):
            assert words in result.stdout, words

    def test_repeated_runs_are_a_list_with_one_seed_after_another(self, here):
        answer = ran("--seed", "5", "--repeat", "3")
        assert (answer["verdict"], answer["exit"]) == ("pass", 0)
        assert [run["seed"] for run in answer["runs"]] == [5, 6, 7]

    @pytest.mark.parametrize(
        ("rows", "verdict", "code"),
        [
            ({"sessions": [made.viewed("s0001", outcome="cut")]}, "fail", 1),
            ({"packets": made.sent(1, 15, 25)}, "unknown", 4),
        ],
    )
    def test_the_verdict_is_the_exit_code(self, here, monkeypatch, rows, verdict, code):
        made.use(monkeypatch, made.Venue(**rows))
        result = call("run", "made.yaml", "-f", "json")
        assert result.exit_code == code
        assert json.loads(result.stdout)["verdict"] == verdict

    def test_an_option_has_an_environment_name_and_wins_over_it(self, here):
        result = call("run", "made.yaml", "-f", "json", TESTBED_RUN_SEED="9")
        assert json.loads(result.stdout)["seed"] == 9
        result = call("run", "made.yaml", "-f", "json", "--seed", "3", TESTBED_RUN_SEED="9")
        assert json.loads(result.stdout)["seed"] == 3

    def test_a_guest_that_died_is_exit_3_with_the_end_of_its_console(self, here, monkeypatch):
        made.use(
            monkeypatch, made.Venue(breaks=VenueError("the guest panicked", "Kernel panic - not syncing"))
        )
        result = call("run", "made.yaml", "-f", "json", "--repeat", "3")
        assert result.exit_code == 3
        assert [run["exit"] for run in json.loads(result.stdout)["runs"]] == [3]
        assert "the guest panicked" in result.stderr
        assert "Kernel panic - not syncing" in result.stderr
        assert "runs/made/" in result.stderr

    def test_what_the_venue_lacks_is_exit_3_with_the_fix(self, here, monkeypatch):
        made.use(
            monkeypatch, made.Venue(lacks=[Lack("nginx is not installed", "apt-get install nginx-light")])
        )
        result = call("run", "made.yaml")
        assert result.exit_code == 3
        assert "nginx is not installed" in result.stderr
        assert "apt-get install nginx-light" in result.stderr
        assert not (here / "runs").exists()

    def test_ctrl_c_is_130_and_says_where_the_evidence_lies(self, here, monkeypatch):
        made.use(monkeypatch, made.Venue(breaks=KeyboardInterrupt()))
        result = call("run", "made.yaml")
        assert result.exit_code == 130
        assert "runs/made/" in result.stderr

    def test_bad_input_is_exit_2_a_line_a_problem(self, here, monkeypatch):
        def refuse(*_):
            raise Refused(["a.yaml:1:1: x: wrong; write y", "a.yaml:2:1: z: wrong; write w"])

        monkeypatch.setattr(pipeline, "plan", refuse)
        result = call("run", "a.yaml")
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            "a.yaml:1:1: x: wrong; write y",
            "a.yaml:2:1: z: wrong; write w",
        ]

    def test_a_mistake_of_ours_leaves_its_traceback_in_a_file(self, here, monkeypatch):
        monkeypatch.setattr(pipeline, "plan", lambda *_: 1 / 0)
        monkeypatch.setattr("tempfile.tempdir", str(here))
        result = call("run", "a.yaml")
        assert result.exit_code == 4
        assert "internal error: ZeroDivisionError" in result.stderr
        (file,) = here.glob("*.traceback")
        assert str(file) in result.stderr
        assert "1 / 0" in file.read_text()

    def test_an_unknown_venue(self, here, monkeypatch):
        monkeypatch.undo()
        monkeypatch.chdir(here)
        result = call("run", "a.yaml", "--venue", "mars")
        assert result.exit_code == 2
        assert "no venue mars" in result.stderr


class TestOnRuns:
    def test_check_judges_again(self, here):
        ran()
        result = call("check", "latest", "-f", "json")
        answer = json.loads(result.stdout)
        assert (result.exit_code, answer["verdict"]) == (0, "pass")
        assert answer["faults"][0]["took_hold"] is True
        assert "sessions-complete" in call("check", "made/latest").stdout

    def test_check_of_a_run_that_did_not_finish_is_exit_4(self, here, monkeypatch):
        made.use(monkeypatch, made.Venue(breaks=VenueError("gone")))
        call("run", "made.yaml")
        result = call("check", "latest")
        assert result.exit_code == 4
        assert "did not finish" in result.stderr

    @pytest.mark.parametrize("verb", [("check",), ("report",), ("reproduce",), ("query", "select 1")])
    def test_a_run_that_is_not_there_is_exit_2(self, here, verb):
        result = call(verb[0], "latest", *verb[1:])
        assert result.exit_code == 2
        assert "latest is no run folder" in result.stderr

    def test_query_answers_as_table_json_and_csv(self, here):
        ran()
        asked = ("query", "latest", "select session_id, rebuffers from sessions order by 1")
        assert json.loads(call(*asked, "-f", "json").stdout) == {
            "rows": [{"session_id": "s0001", "rebuffers": 0}, {"session_id": "s0002", "rebuffers": 0}]
        }
        assert call(*asked, "-f", "csv").stdout == "session_id,rebuffers\ns0001,0\ns0002,0\n"
        assert "s0002" in call(*asked).stdout

    def test_rows_too_wide_for_a_terminal_are_shown_one_column_a_line(self, monkeypatch, capsys):
        from rich.console import Console

        narrow = Console(width=20, force_terminal=True, no_color=True, highlight=False)
        monkeypatch.setattr(terminal, "stdout", lambda: narrow)
        terminal.records(("session", "oca"), [("s0001-and-more", "oca-n1"), ("s0002", None)])
        assert capsys.readouterr().out.splitlines() == [
            "── row 1", "session  s0001-and-more", "oca      oca-n1", "── row 2", "session  s0002", "oca",
        ]  # fmt: skip

    def test_rows_in_a_pipe_are_never_folded(self, here):
        ran()
        wide = "x" * 300
        assert wide in call("query", "latest", f"select '{wide}' as it").stdout

    def test_a_run_that_was_killed_can_be_found_but_not_compared(self, here):
        (here / ran()["run"] / "run.json").unlink()
        result = call("reproduce", "latest")
        assert result.exit_code == 4
        assert "did not finish" in result.stderr

    def test_a_query_that_is_wrong_is_exit_2(self, here):
        ran()
        result = call("query", "latest", "select nonsense from sessions")
        assert result.exit_code == 2
        assert "nonsense" in result.stderr

    def test_report_says_where_it_lies(self, here):
        folder = here / ran()["run"]
        (folder / "report.html").unlink()
        path = json.loads(call("report", "latest", "-f", "json").stdout)["report"]
        assert (here / path).samefile(folder / "report.html")

    def test_reproduce_compares_with_a_new_run(self, here):
        first = ran("--seed", "4")
        answer = json.loads(call("reproduce", first["run"], "-f", "json").stdout)
        assert (answer["same"], answer["differs"]) == (True, [])
        assert answer["again"] != answer["run"] == first["run"]

    def test_reproduce_names_what_differs(self, here, monkeypatch):
        run = ran()["run"]
        made.use(monkeypatch, made.Venue(packets=made.sent(2, 25)))
        result = call("reproduce", run)
        assert result.exit_code == 1
        assert "differs: tables/packets.parquet" in result.stdout


def test_plan_shows_the_network_to_people_and_the_job_to_programs(here):
    shown = call("plan", "made.yaml").stdout
    for words in ("north.homes.2", "10mbit, 5ms", "oca-crash", "s0002", "rebuffer-ratio"):
        assert words in shown, words
    assert call("plan", "made.yaml", "--seed", "7", "-f", "json").stdout == made.job(seed=7).dumps()


class TestDoctor:
    @pytest.mark.parametrize(
        ("found", "code"),
        [
            ({"guest": [], "here": [Lack("root", "sudo")]}, 0),
            ({"guest": [Lack("bird", "apt-get install bird2")]}, 3),
        ],
    )
    def test_what_is_missing_is_named_with_its_fix(self, monkeypatch, found, code):
        monkeypatch.setattr(doctor, "diagnose", lambda *_: found)
        result = call("doctor")
        assert result.exit_code == code
        for venue, lacks in found.items():
            assert venue in result.stdout
            for lack in lacks:
                assert lack.fix in result.stdout
        told = json.loads(call("doctor", "-f", "json").stdout)
        assert {venue: facts["ready"] for venue, facts in told.items()} == {
            venue: not lacks for venue, lacks in found.items()
        }


class TestPolicy:
    def test_it_is_what_the_routers_are_told(self):
        told = call("plan", "topologies/metro.yaml", "--policy", "--node", "transit.a").stdout
        assert "filter from_customer" in told
        assert "# what the customer and its own customers originate" in told
        assert "north.core, router" not in told

    def test_as_json_it_is_files_by_node(self):
        told = json.loads(call("plan", "topologies/metro.yaml", "--policy", "-f", "json").stdout)
        assert len(told) == 11
        assert {path.rpartition("/")[2] for path in told["north.core"]} == {"bird.conf"}

    def test_a_node_without_routing_is_refused(self):
        done = call("plan", "topologies/metro.yaml", "--policy", "--node", "transit.b")
        assert done.exit_code == 2
        assert "did you mean" in done.stderr


class TestKinds:
    def test_all_groups_are_listed(self):
        told = json.loads(call("kinds", "-f", "json").stdout)
        assert set(told) == set(registry.GROUPS) >= {"faults", "abrs", "traffic", "venues"}
        assert "oca-crash" in told["faults"]

    def test_one_kind_is_explained(self):
        shown = call("kinds", "checks", "failover-time").stdout
        assert "{kind: failover-time, p95: 3s}" in shown
        assert "duration" in shown

    @pytest.mark.parametrize("arguments", [("gremlins",), ("checks", "luck")])
    def test_what_does_not_exist_is_exit_2(self, arguments):
        result = call("kinds", *arguments)
        assert result.exit_code == 2
        assert "there are" in result.stderr or "the groups are" in result.stderr


def test_the_command_starts_without_the_analysis():
    """A bad file must be refused at once: no verb imports polars, duckdb or numpy before it must."""
    heavy = "{'polars', 'duckdb', 'numpy', 'pyarrow', 'pydantic', 'rich.table'}"
    program = f"import sys, testbed.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
