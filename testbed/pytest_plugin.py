"""`pytest scenarios/` runs every scenario file as a test.

A YAML file with a `topology` and a `duration` is a scenario. Its test fails where a check fails, where
the verdict is unknown, and where the venue lacks something: a missing environment must not look like a
pass (`--testbed-skip-missing` skips instead). Workers of pytest-xdist each boot guests of their own. This
module is loaded by every pytest of the environment, so it imports the testbed only when there is
a scenario to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testbed.pipeline import Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say where and how scenarios run."""
    group = parser.getgroup("testbed", "network scenarios")
    group.addoption("--testbed-out", default="runs", metavar="DIR", help="where run folders are made (runs)")
    group.addoption("--testbed-seed", type=int, metavar="N", help="replaces the seed of every scenario")
    group.addoption("--testbed-venue", default="guest", metavar="KIND", help="where scenarios run (guest)")
    group.addoption(
        "--testbed-skip-missing", action="store_true", help="skip, not fail, where the venue lacks something"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take YAML files that are scenarios, broken ones too: those fail with what is wrong in them."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    from testbed.pipeline import top_level_keys

    if not {"topology", "duration"} <= top_level_keys(file_path):
        return None
    file: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return file


class ScenarioFile(pytest.File):
    """A scenario's YAML file."""

    def collect(self) -> Iterator[pytest.Item]:
        """The one test in it, named after the file."""
        yield ScenarioItem.from_parent(self, name=self.path.stem)


class ScenarioFailed(Exception):
    """A run whose verdict is not pass; the message names the checks."""


class ScenarioItem(pytest.Item):
    """One run of a scenario."""

    def runtest(self) -> None:
        """Run it; ScenarioFailed if the verdict is not pass."""
        from testbed import pipeline

        option = self.config.option
        job = pipeline.plan(self.path, option.testbed_seed)
        try:
            result = pipeline.run(
                job, pipeline.venue(option.testbed_venue), Path(option.testbed_out), lambda *_: None
            )
        except pipeline.Lacking as lacking:
            if option.testbed_skip_missing:
                pytest.skip(f"the venue {lacking.venue} is not ready: {lacking}")
            raise
        for name, value in (("run", result.run), ("seed", result.seed), ("digest", result.digest)):
            self.user_properties.append((f"testbed.{name}", str(value)))
        if result.exit != 0:
            raise ScenarioFailed(told(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What failed, without a traceback; that of an internal error is shown."""
        from testbed import model, pipeline

        problem = excinfo.value
        if isinstance(problem, ScenarioFailed):
            return str(problem)
        if isinstance(problem, model.Refused):
            return "\n".join(str(each) for each in problem.problems)
        if isinstance(problem, pipeline.Lacking):
            lines = [f"  {lack.what}\n    mend it with: {lack.fix}" for lack in problem.lacks]
            return "\n".join([f"the venue {problem.venue} is not ready:", *lines])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test stands, and what it is called."""
        return self.path, 0, f"scenario {self.name}"


def told(result: Result) -> str:
    """Why a run did not pass, a line for every check that did not, worst first."""
    if result.reason:
        evidence = "".join(f"\n  | {line}" for line in result.evidence.splitlines()[-20:])
        return f"unknown: the run did not finish: {result.reason}{evidence}\nrun: {result.run}"
    from testbed import pipeline, verdict

    judged = pipeline.judgement(result.run)
    lines = []
    for check in sorted(judged.checks, key=lambda check: -verdict.SEVERITY.index(check.outcome)):
        if check.outcome != "pass":
            measured = f"measured {check.measured}, " if check.measured else ""
            wanted = f"wanted {check.wanted}" if check.wanted else ""
            numbers = f"{measured}{wanted}".rstrip(", ")
            lines.append(
                f"{check.outcome}: {check.kind}: " + "; ".join(filter(None, [numbers, check.detail]))
            )
    lines += [f"unknown: {reason}" for reason in judged.trust]
    report = result.run / "report.html"
    return "\n".join([*lines, f"report: {report}", f"reproduce: testbed reproduce {result.run}"])
