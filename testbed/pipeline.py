"""A run from its YAML to its report: the stages, each a function from what the one before left.

    load and plan   scenario.yaml  ->  job.json
    venue           job.json       ->  captures, events.jsonl, logs, guest.json
    tabulate        these          ->  tables
    judge           tables         ->  verdict.json
    report          all of it      ->  report.html

Everything after the venue can be done again on an old run folder without running anything. The
stages import what they need when they start: refusing a bad file must not wait for polars.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import configurations, registry
from testbed.kernel.boot import PROGRAMS_PATH
from testbed.terminal import say
from testbed.venues import Lack, Progress, Venue, VenueError

if TYPE_CHECKING:
    from testbed.job import Job
    from testbed.refusal import Problem
    from testbed.verdict import Judgement


PACKETS = "tables/packets.parquet"  # what a folder of tables without a run has
UNFINISHED = 3  # the exit code of a run that its venue could not finish

SCENARIO_KEYS = frozenset({"topology", "duration", "workload", "faults", "checks"})
_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z][\w-]*)\s*:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run went; `reason` and `evidence` say why where it did not finish."""

    run: Path
    verdict: str
    exit: int
    seed: int
    virtual_s: float
    real_s: float
    digest: str
    reason: str = ""
    evidence: str = ""


class Lacking(Exception):
    """A venue that cannot run anything here yet: what it lacks, and the commands that mend it."""

    def __init__(self, venue: str, lacks: Sequence[Lack]) -> None:
        super().__init__("; ".join(f"{lack.what} ({lack.fix})" for lack in lacks))
        self.venue = venue
        self.lacks = tuple(lacks)


class NoSuchRun(Exception):
    """A run folder that is not there; the message says where it was looked for."""


class Unfinished(Exception):
    """A run that did not finish: there is nothing to judge or to compare."""


class Interrupted(KeyboardInterrupt):
    """A run that the user stopped; what it recorded so far lies in `run`."""

    def __init__(self, run: Path) -> None:
        super().__init__(str(run))
        self.run = run


def plan(
    path: Path, seed: int | None = None, sets: Sequence[str] | None = None, clock: str = "virtual"
) -> Job:
    """Load a scenario and resolve it into a job; Refused says everything that is wrong with it."""
    from testbed import model
    from testbed import plan as planning

    with _room(path):
        loaded = model.load_scenario(path, sets or (), seed)
        _warn(loaded.warnings)
        return planning.plan(loaded, clock=clock)


def bare(path: Path, seed: int | None = None, clock: str = "wall") -> Job:
    """Load a topology and resolve it into a job without a scenario; Refused as for `plan`."""
    from testbed import model
    from testbed import plan as planning

    with _room(path):
        loaded = model.load_topology(path)
        _warn(loaded.warnings)
        return planning.bare(loaded, 1 if seed is None else seed, clock)


def either(
    path: Path, seed: int | None = None, sets: Sequence[str] | None = None, clock: str = "virtual"
) -> Job:
    """Resolve whichever a file is, a scenario or a topology alone; Refused as for `plan`."""
    if top_level_keys(path) & SCENARIO_KEYS or sets or not path.is_file():
        return plan(path, seed, sets, clock)
    return bare(path, seed, clock)


def _warn(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        say(f"warning: {warning}")


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """Refuse a topology that is larger than the plan has room for as any other that is wrong."""
    from testbed import model
    from testbed.plan.addresses import PlanError

    try:
        yield
    except PlanError as problem:
        what, _, hint = str(problem).partition("; ")
        raise model.Refused([model.Problem(str(path), 0, 0, "", what, hint or "use fewer")]) from None


def venue(kind: str) -> Venue:
    """The venue of that kind; KeyError if there is none."""
    made: Venue = registry.kinds("venues")[kind]()
    return made


def completed(lacks: list[Lack]) -> list[Lack]:
    """What a venue lacks, and what is lacking on this side of it to analyse what it leaves."""
    from testbed.measure import native

    what = native.lacks()
    if not what or what in {lack.what for lack in lacks}:
        return lacks
    return [*lacks, Lack(what, native.INSTALL)]


def lacking(lacks: list[Lack], job: Job | None) -> list[Lack]:
    """What is lacking to run a job, or any, where a venue has found this; each thing once."""
    found = completed(lacks)
    known = {lack.what for lack in found}
    return [*found, *(lack for lack in (_not_installed(job) if job else ()) if lack.what not in known)]


def _not_installed(job: Job) -> list[Lack]:
    """The programs that a job starts, and those of its routing daemons, that are not here."""
    started = {each.argv[0] for node in job.nodes for each in node.processes if each.argv}
    programs = {program: program for program in sorted(started)}  # Debian calls most packages so
    for daemon in dict.fromkeys(filter(None, map(configurations.daemon_of, job.nodes))):
        programs |= daemon.programs
    return [
        Lack(f"the program {program}", f"sudo apt-get install {package}")
        for program, package in programs.items()
        if shutil.which(program, path=PROGRAMS_PATH) is None
    ]


def ready(job: Job, kind: str, lacks: list[Lack]) -> None:
    """Raise Lacking if a venue lacks anything, or the job starts programs that are not installed.

    Misconfigured if one of them does not take its configuration.
    """
    if found := lacking(lacks, job):
        raise Lacking(kind, found)
    configurations.check(job)


def run(job: Job, where: Venue, out: Path, progress: Progress) -> Result:
    """Run a job, then tabulate, judge and report; whatever happens, run.json tells it.

    A run that the venue could not finish keeps its folder and comes back with exit 3, one whose
    evidence could not be analysed with exit 4. Raises Lacking or Misconfigured before anything is
    started, and Interrupted once everything is put away.
    """
    ready(job, where.kind, where.lacks())
    into = _folder(job, out)
    (into / "job.json").write_text(job.dumps())
    told = _Telling(into, job, where.kind)
    try:
        with told.stage("venue"):
            where.run(job, into, progress)
        with told.stage("tables"):
            tabulate(into, progress)
        with told.stage("checks"):
            progress("checks", 0, 1)
            judgement = judge(into)
        told.finish(judgement.verdict, judgement.exit)
        with told.stage("report"):
            progress("report", 0, 1)
            report(into)
        return told.finish(judgement.verdict, judgement.exit)
    except VenueError as problem:
        return told.finish("unknown", 3, problem.reason, problem.evidence)
    except KeyboardInterrupt:
        told.finish("unknown", 130, "interrupted")
        raise Interrupted(into) from None
    except SystemExit as ending:  # a venue that was told to end (SIGTERM) has put everything away
        told.finish("unknown", 130, f"ended with {ending.code}")
        raise
    except Exception as problem:  # noqa: BLE001 - a mistake of ours, or of a kind from outside
        # The run itself may be good: keep it, so that the stage can be done again once it is mended.
        (into / "traceback.txt").write_text(traceback.format_exc())
        reason = f"{told.current} failed: {type(problem).__name__}: {problem}"
        return told.finish("unknown", 4, f"{reason}; see {into / 'traceback.txt'}")
    finally:
        _point_latest(into)


def tabulate(run: Path, progress: Progress | None = None) -> None:
    """Make the tables from what the venue recorded."""
    from testbed.measure import tables

    tables.write(run, progress)


def judge(run: Path) -> Judgement:
    """Judge the faults and the checks from the tables; leaves verdict.json.

    Makes the tables first where an earlier attempt left none. Unfinished says that the venue never
    finished the run.
    """
    from testbed import verdict

    if not _guest(run).get("finished"):
        raise Unfinished(f"{run} did not finish: there is nothing to judge")
    if not (run / "tables").is_dir():
        tabulate(run)
    return verdict.judge(run)


def judgement(run: Path) -> Judgement:
    """The judgement that `judge` left."""
    from testbed import verdict

    return verdict.Judgement.read(run)


def report(run: Path) -> Path:
    """Draw the report; leaves report.html."""
    from testbed import report as reporting

    if not (run / "verdict.json").is_file():
        judge(run)
    return reporting.write(run)


def differences(first: Path, second: Path) -> list[str]:
    """The result files of two runs that are not the same, by name; empty if all are."""
    one, other = (json.loads((run / "run.json").read_text())["files"] for run in (first, second))
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def find(named: str, out: Path, holds: str = "") -> Path:
    """The run folder that a user means: a path, `latest`, or `<scenario>/latest` under `out`.

    A folder that has no job but the file `holds` will do, too.
    """
    for candidate in (Path(named), out / named):
        if (candidate / "job.json").is_file() or (holds and (candidate / holds).is_file()):
            # Not the link itself: it may lead elsewhere by the time the answer is read.
            return candidate.parent / candidate.readlink() if candidate.is_symlink() else candidate
    raise NoSuchRun(f"{named} is no run folder, neither here nor in {out}; 'testbed run' makes one")


def top_level_keys(path: Path) -> frozenset[str]:
    """The top-level keys of a YAML file, without parsing it: a broken scenario is one still."""
    try:
        return frozenset(_TOP_LEVEL_KEY.findall(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return frozenset()


def _folder(job: Job, out: Path) -> Path:
    """A new folder for a run; runs started in one instant side by side get different ones."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", job.scenario)
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    into = out / safe / f"{started}-seed{job.seed}-{secrets.token_hex(3)}"
    into.mkdir(parents=True)
    return into


def _point_latest(run: Path) -> None:
    """Let `latest` beside the run and above it lead here; a reader sees the old one or this one."""
    for link in (run.parent / "latest", run.parent.parent / "latest"):
        beside = link.with_name(f".latest-{run.name}")
        beside.symlink_to(os.path.relpath(run, link.parent))
        beside.replace(link)


class _Telling:
    """Keeps what run.json will say, and says it."""

    def __init__(self, run: Path, job: Job, venue: str) -> None:
        self.run, self.job, self.venue = run, job, venue
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.stages_s: dict[str, float] = {}
        self.stages_cpu_s: dict[str, float] = {}
        self.current = ""
        self._wall, self._cpu = time.monotonic(), _cpu_s()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside, whether or not it goes well."""
        self.current, start, spent_s = name, time.monotonic(), _cpu_s()
        try:
            yield
        finally:
            self.stages_s[name] = round(time.monotonic() - start, 3)
            self.stages_cpu_s[name] = round(_cpu_s() - spent_s, 3)

    @cached_property
    def _files(self) -> dict[str, str]:
        """The digests of the results; nothing after the first telling but the report changes the folder."""
        from testbed import provenance

        return provenance.digests(self.run)

    @cached_property
    def _versions(self) -> dict[str, str]:
        from testbed import provenance

        return provenance.versions()

    def finish(self, verdict: str, code: int, reason: str = "", evidence: str = "") -> Result:
        """Write run.json; the report reads it, so it is written once more when the report is there."""
        from testbed import provenance

        guest = _guest(self.run)
        virtual_ns = guest["end_unix_ns"] - guest["t0_unix_ns"] if guest.get("finished") else 0
        result = Result(
            run=self.run,
            verdict=verdict,
            exit=code,
            seed=self.job.seed,
            virtual_s=virtual_ns / 1e9,
            real_s=round(time.monotonic() - self._wall, 3),
            digest=provenance.digest(self._files) if not reason else "",
            reason=reason,
            evidence=evidence,
        )
        told: dict[str, Any] = {
            "scenario": self.job.scenario,
            "seed": self.job.seed,
            "venue": self.venue,
            "clock": self.job.clock,
            "verdict": verdict,
            "exit": code,
            "reason": reason,
            "console": evidence.splitlines(),
            "started": self.started,
            "real_s": result.real_s,
            "virtual_s": result.virtual_s,
            "cpu_s": round(_cpu_s() - self._cpu, 3),
            "stages_s": self.stages_s,
            "stages_cpu_s": self.stages_cpu_s,
            "versions": self._versions,
            "kernel": guest.get("kernel", ""),
            "host": provenance.host(),
            "digest": result.digest,
            "files": self._files,
        }
        (self.run / "run.json").write_text(json.dumps(told, indent=1) + "\n")
        return result


def _guest(run: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((run / "guest.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # it died before, or while, writing it
        return {}
    return told


def _cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
