"""What every fault, role, check and venue keeps to: found by the registry, listed nowhere."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from testbed import model, registry
from testbed.abrs import Abr
from testbed.checks import Check
from testbed.faults import Fault
from testbed.job import Job
from testbed.plan import plan
from testbed.services.viewer import algorithm
from testbed.testing import FakeNet

METRO = Path(__file__).parent.parent / "topologies" / "metro.yaml"
KINDS = [(group, kind) for group in registry.GROUPS for kind in registry.kinds(group)]
FAULTS, CHECKS, ABRS = (registry.kinds(group) for group in ("faults", "checks", "abrs"))


def example(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def planned(folder: Path, section: str, written: str) -> Job:
    """The job of a scenario that has this one fault or check."""
    path = folder / "scenario.yaml"
    path.write_text(
        "name: example\n"
        f"topology: {METRO}\n"
        "duration: 180s\n"
        "titles: {film: {length: 60s, segment: 4s, bitrates: [235kbit, 750kbit]}}\n"
        "workload: [{kind: playback, clients: north.homes, title: film, arrivals: {every: 1s}}]\n"
        f"{section}:\n  - {written}\n"
    )
    return plan(model.load_scenario(path))


def struck(folder: Path, kind: str) -> tuple[Job, Fault]:
    """The job of a fault's example, and the fault as the guest makes it from the job."""
    job = planned(folder, "faults", example(FAULTS[kind]))
    (fault,) = job.faults
    made = registry.build(
        "faults", fault.kind, {"at": fault.at_ns, "lasts": fault.lasts_ns, **fault.parameters}
    )
    return job, made


@pytest.mark.parametrize(("group", "kind"), KINDS)
def test_a_kind_has_a_name_and_says_what_it_is(group, kind):
    found = registry.kinds(group)[kind]
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", kind)
    module = inspect.getmodule(found)
    assert module is not None
    summary = inspect.cleandoc(module.__doc__ or "").partition("\n")[0]
    assert summary.endswith("."), f"{module.__name__} does not begin with one sentence on what it is"


@pytest.mark.parametrize("kind", CHECKS)
def test_the_example_of_a_check_is_what_one_may_write(tmp_path, kind):
    job = planned(tmp_path, "checks", example(CHECKS[kind]))
    (written,) = job.checks
    values = {name: value for name, value in written.items() if name != "kind"}
    check = registry.build("checks", kind, values)
    assert type(check) is CHECKS[kind]
    assert isinstance(check, Check)


@pytest.mark.parametrize("kind", ABRS)
def test_the_example_of_an_algorithm_is_what_one_may_write(tmp_path, kind):
    path = tmp_path / "scenario.yaml"
    written = f"workload.0.abr={example(ABRS[kind])}"
    job = planned(tmp_path, "checks", example(CHECKS["sql"]))
    assert job.sessions[0].abr == "bba"
    (session, *_) = plan(model.load_scenario(path, [written])).sessions
    made = algorithm(json.loads(json.dumps(dataclasses.asdict(session))))
    assert type(made) is ABRS[kind]
    assert isinstance(made, Abr)


@pytest.mark.parametrize("kind", FAULTS)
def test_the_example_of_a_fault_is_what_one_may_write(tmp_path, kind):
    job, fault = struck(tmp_path, kind)
    assert type(fault) is FAULTS[kind]
    assert isinstance(fault, Fault)
    assert fault.where() == job.faults[0].target
    assert re.fullmatch(r"#[0-9a-f]{6}", fault.colour)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_changes_the_state_and_restores_it(tmp_path, kind):
    job, fault = struck(tmp_path, kind)
    net = FakeNet(job)
    before = net.state()
    with fault.strike(net):
        assert net.state() != before
    assert net.state() == before


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_restores_the_state_if_the_body_raises(tmp_path, kind):
    job, fault = struck(tmp_path, kind)
    net = FakeNet(job)
    before = net.state()
    with pytest.raises(RuntimeError, match="inside"), fault.strike(net):
        raise RuntimeError("inside")
    assert net.state() == before


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_may_overlap_with_itself_and_end_first(tmp_path, kind):
    job, fault = struck(tmp_path, kind)
    net = FakeNet(job)
    before = net.state()
    first, second = fault.strike(net), dataclasses.replace(fault).strike(net)
    first.__enter__()
    alone = net.state()
    second.__enter__()
    first.__exit__(None, None, None)
    assert net.state() == alone
    second.__exit__(None, None, None)
    assert net.state() == before


@pytest.mark.parametrize("kind", registry.kinds("venues"))
def test_a_venue_says_what_it_lacks_in_words_and_with_the_fix(kind):
    venue = registry.kinds("venues")[kind]()
    assert venue.width >= 1
    for lack in venue.lacks():
        assert lack.what
        assert lack.fix
