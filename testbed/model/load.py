"""Loading turns YAML files into models, or refuses them with everything that is wrong at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from testbed.model import document, explain, rules, scenario_rules
from testbed.model.breach import Breach
from testbed.model.document import Document, Location, Mark, Node, Unreadable
from testbed.model.fields import Model
from testbed.model.schema import Scenario, Topology
from testbed.refusal import PROBLEMS_MOST, Problem, Refused, Wrong, quoted

_M = TypeVar("_M", bound=Model)


@dataclass(frozen=True)
class LoadedTopology:
    """A topology, and the text it was read from, by file name."""

    topology: Topology
    sources: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A scenario with its topology, and the texts they were read from, by file name."""

    topology: Topology
    scenario: Scenario
    sources: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Setting:
    """A value from the command line, and the place in a document that it is for."""

    steps: tuple[str, ...]
    value: str


def load_topology(path: Path) -> LoadedTopology:
    """The topology of a file; Refused says everything that is wrong with it."""
    read = _read(path)
    topology = _judged(read, Topology, rules.breaches)
    if topology is None or read.problems:
        raise Refused(_in_order(read))
    return LoadedTopology(topology, {path.name: read.text}, tuple(read.warnings))


def load_scenario(path: Path, sets: Iterable[str] = (), seed: int | None = None) -> Loaded:
    """The scenario of a file with its topology; Refused says everything that is wrong with both.

    `sets` are "path=value", laid over the scenario, or over the topology where the path starts with
    "topology."; `seed` replaces the scenario's.
    """
    read = _read(path)
    own, below = _settings(sets, read)
    _override(read, own)
    if seed is not None:
        read.set(("seed",), Node(Mark("--seed", 0, 0), seed))
    ground = _ground(read, path, below)
    topology = _judged(ground, Topology, rules.breaches) if ground else None
    scenario = _judged(read, Scenario, partial(scenario_rules.breaches, topology=topology))
    if scenario is not None:
        scenario = _with_files(scenario, read, path)
    found = [problem for each in (read, ground) if each for problem in _in_order(each)]
    if scenario is None or topology is None or ground is None or found:
        raise Refused(found)
    sources = {path.name: read.text, scenario.topology: ground.text}
    return Loaded(topology, scenario, sources, (*read.warnings, *ground.warnings))


def _read(path: Path) -> Document:
    try:
        return document.read(path, str(path))
    except Unreadable as problem:
        raise Refused([Problem(str(path), 0, 0, "", problem.what, problem.hint)]) from None


def _ground(read: Document, path: Path, settings: Iterable[_Setting]) -> Document | None:
    """The document of the topology that a scenario names; None where there is none to go on with."""
    root = read.root.value
    entry = root.get("topology") if isinstance(root, dict) else None
    if entry is None or not isinstance(entry.node.value, str):
        return None  # which the schema has a word to say about
    named = path.parent / entry.node.value
    try:
        ground = document.read(named, os.path.normpath(named))
    except Unreadable as problem:
        hint = "write the topology's path, relative to this file"
        read.problems.append(read.problem(("topology",), problem.what, hint))
        return None
    except Refused as refused:
        read.problems += refused.problems
        return None
    ground.prefix = ("topology",)
    _override(ground, settings)
    return ground


def _settings(sets: Iterable[str], read: Document) -> tuple[list[_Setting], list[_Setting]]:
    """The settings of the scenario and those of its topology."""
    own: list[_Setting] = []
    below: list[_Setting] = []
    for text in sets:
        path, equals, value = text.partition("=")
        steps = tuple(path.strip().split("."))
        if not equals or "" in steps:
            what, hint = f"{quoted(text)} is not a path and a value", "write for example faults.0.at=30s"
            read.problems.append(Problem("--set", 0, 0, "", what, hint))
        elif steps[0] == "topology" and len(steps) > 1:
            below.append(_Setting(steps[1:], value))
        else:
            own.append(_Setting(steps, value))
    return own, below


def _override(read: Document, settings: Iterable[_Setting]) -> None:
    for setting in settings:
        path: Location = (*read.prefix, *setting.steps)
        try:
            value, found = document.parse_value(setting.value, "--set", path)
            read.problems += found
            read.set(setting.steps, value)
        except Wrong as problem:
            read.problems.append(Problem("--set", 0, 0, document.dotted(path), problem.what, problem.hint))
        except Refused as refused:
            read.problems += refused.problems


def _judged(read: Document, model: type[_M], broken: Callable[[_M], Iterator[Breach]]) -> _M | None:
    """The model of a document, with its problems added to the document's.

    Where only part of it is wrong, the model has something harmless there, so that the rest is
    judged too; None where that cannot be.
    """
    data = read.root.plain()
    # what a file names lies relative to it; `files` are those that were read already
    context = {"folder": Path(read.root.mark.file).parent, "files": {}}
    spoilt: list[Location] = []
    found: list[Problem] = []
    try:
        made = model.model_validate(data, context=context)
    except ValidationError as refused:
        errors = refused.errors(include_url=False)[: PROBLEMS_MOST + 1]
        spoilt = [error["loc"] for error in errors]
        found += explain.problems(read, errors)
        mended = explain.without(data, errors) if len(errors) <= PROBLEMS_MOST else None
        try:
            made = model.model_validate(mended, context=context)
        except ValidationError:
            read.problems += _news(read, found)
            return None
    for breach in islice(broken(made), PROBLEMS_MOST + 1):
        if not any(breach.location[: len(place[:-1])] == place[:-1] for place in spoilt if len(place) > 1):
            problem = read.problem(breach.location, breach.what, breach.hint, on_key=breach.on_key)
            (read.warnings if breach.warns else found).append(problem)
    read.problems += _news(read, found)
    return made


def _news(read: Document, found: Iterable[Problem]) -> list[Problem]:
    """Those of the problems that concern nothing that was wrong already."""
    known = {(problem.file, problem.line, problem.column, problem.path) for problem in read.problems}
    return [
        problem
        for problem in found
        if (problem.file, problem.line, problem.column, problem.path) not in known
    ]


def _with_files(scenario: Scenario, read: Document, path: Path) -> Scenario:
    """The scenario with the paths of its titles' files made complete; the files are read once, to try."""
    from testbed import media
    from testbed import titles as titling

    titles = dict(scenario.titles)
    for name, title in scenario.titles.items():
        key = "file" if title.file is not None else "media"
        written: Path | None = getattr(title, key)
        if written is None:
            continue
        found = path.parent / written
        try:
            if key == "file":
                titling.read(found, name, title.length)
            else:
                media.read(found, name)
        except OSError as problem:
            what = f"cannot read {os.path.normpath(found)}: {problem.strerror}"
            hint = "write a path relative to this file"
            read.problems.append(read.problem(("titles", name, key), what, hint))
        except (ValueError, RecursionError) as problem:
            what, _, hint = str(problem).partition("; ")
            hint = hint or "write segment_duration_ms, bitrates_kbps and segment_sizes_bits in it"
            read.problems.append(read.problem(("titles", name, key), what, hint))
        titles[name] = title.model_copy(update={key: found})
    return scenario.model_copy(update={"titles": titles})


def _in_order(read: Document) -> list[Problem]:
    """A document's problems by their place, and no more of them than anybody wants to see."""
    found = sorted(read.problems, key=lambda problem: (problem.line, problem.column))
    if len(found) <= PROBLEMS_MOST:
        return found
    more = Problem(read.root.mark.file, 0, 0, "", f"has more than {PROBLEMS_MOST} errors", "mend these first")
    return [*found[:PROBLEMS_MOST], more]
