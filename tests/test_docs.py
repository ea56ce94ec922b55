"""What the documents say is so: generated pages are fresh, and the examples in them work."""

import ast
import importlib.util
import re
import sys
from importlib.metadata import EntryPoint
from ipaddress import ip_address, ip_network
from pathlib import Path

import made
import pytest

from testbed import model, registry
from testbed.measure.tables import Tables
from testbed.services.ranking import Limits, Report, rank
from testbed.steering import Query, Route, Site

ROOT = Path(__file__).parent.parent
HOW = (ROOT / "docs" / "how.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FAULT, ITS_TEST, CHECK, ON_A_RUN, POLICY = (
    text for language, text in BLOCK.findall(HOW) if language == "python"
)


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make():
    return loaded("docs_make", ROOT / "docs" / "make.py")


@pytest.mark.parametrize("name", ["docs/tables.md", "docs/yaml.md", "README.md"])
def test_a_page_made_of_the_code_is_fresh(make, name):
    wanted = make.pages()[ROOT / name]
    assert (ROOT / name).read_text("utf-8") == wanted, "stale: run .venv/bin/python docs/make.py"


def test_the_map_has_every_module_once_with_its_first_sentence():
    (told,) = [text for _, text in BLOCK.findall(README) if text.startswith("testbed/ ")]
    seen, folder = {}, ""
    for line in told.splitlines():
        name, _, text = line.strip().partition(" ")
        if name.endswith("/"):
            folder = "" if name == "testbed/" else name
            name = "__init__.py"
        assert f"{folder}{name}" not in seen
        seen[f"{folder}{name}"] = text.strip()
    modules = {
        path.relative_to(ROOT / "testbed").as_posix(): ast.get_docstring(ast.parse(path.read_text("utf-8")))
        for path in (ROOT / "testbed").rglob("*.py")
    }
    assert seen.keys() == modules.keys()
    for name, text in seen.items():
        said = " ".join((modules[name] or "").split())
        assert said.startswith(text)
        assert bool(text) == bool(said)


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "docs/how.md", "docs/tables.md", "docs/yaml.md"]
)
def test_links_lead_somewhere(make, page):
    def anchors(path):
        return {
            make._anchor(heading)
            for heading in re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
        }

    here = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", here.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        there = here.parent / path if path else here
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_scenario_in_the_readme_is_one(tmp_path):
    (scenario,) = [text for language, text in BLOCK.findall(README) if language == "yaml"]
    for folder in ("topologies", "scenarios"):
        (tmp_path / folder).mkdir()
    (tmp_path / "topologies" / "metro.yaml").write_bytes((ROOT / "topologies" / "metro.yaml").read_bytes())
    (tmp_path / "scenarios" / "mine.yaml").write_text(scenario)
    assert model.load_scenario(tmp_path / "scenarios" / "mine.yaml").scenario.checks


@pytest.fixture
def kinds_from_the_page(tmp_path, monkeypatch):
    """The fault and the check of how.md, as if their files lay in the package."""
    entries = []
    for group, name, text in (("faults", "AgentSilent", FAULT), ("checks", "FirstFrame", CHECK)):
        module = f"from_the_page_{group}"
        (tmp_path / f"{module}.py").write_text(text)
        entries.append(EntryPoint(name, f"{module}:{name}", f"testbed.{group}"))
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry for entry in entries if entry.group == group]
    )
    registry.kinds.cache_clear()
    yield
    registry.kinds.cache_clear()


@pytest.mark.usefixtures("kinds_from_the_page")
def test_the_fault_of_the_page_passes_the_test_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(compile(ITS_TEST, "docs/how.md", "exec"), names)
    names["test_only_the_agent_is_silent"](tmp_path)


@pytest.mark.usefixtures("kinds_from_the_page")
def test_the_fault_of_the_page_is_proven_by_packets(tmp_path):
    def reports(*times_s):
        return [{**row, "dport": 443} for row in made.sent(*times_s)]

    fault = registry.build(
        "faults", "agent-silent", {"at": 10 * made.S, "lasts": 10 * made.S, "target": "oca-n1"}
    )

    def asked(name, packets):
        tables = Tables(made.run(tmp_path / name, packets=packets))
        return fault.took_hold(tables), fault.healed(tables)

    assert asked("struck", reports(5, 25)) == (True, True)
    assert asked("missed", reports(5, 15)) == (False, False)
    assert asked("silent", []) == (None, False)


@pytest.mark.usefixtures("kinds_from_the_page")
def test_the_check_of_the_page_judges_a_run(tmp_path, monkeypatch, capsys):
    made.run(tmp_path / "runs" / "latest")
    monkeypatch.chdir(tmp_path)
    exec(compile(ON_A_RUN, "docs/how.md", "exec"), {})
    assert capsys.readouterr().out == (
        "Verdict(outcome='pass', measured='p95 500ms', wanted='p95 at most 2s', detail='')\n"
    )


def test_the_policy_of_the_page_takes_the_oca_with_the_most_room():
    names = {"__name__": "from_the_page"}
    exec(compile(POLICY, "docs/how.md", "exec"), names)
    route = Route(ip_network("10.1.0.0/16"), (64501,))
    reports = [
        Report(oca=oca, received_ns=0, healthy=True, titles=frozenset({"film"}), routes=(route,), bps=bps)
        for oca, bps in (("a", 8e8), ("b", 1e8), ("c", 0))
    ]
    sites = {oca: Site(capacity_bps=10**9) for oca in "ab"} | {"c": Site(connections=100)}
    query = Query("film", ip_address("10.1.2.3"))
    found = rank(reports, sites, names["LeastLoaded"](), query, Limits(stale_ns=1), now_ns=0)
    assert [choice.oca for choice in found] == ["c", "b", "a"]
    assert found[2].why == "prefix 10.1.0.0/16, load 80%"
    assert found[2].decided_by == "load"


@pytest.mark.parametrize("text", [FAULT, ITS_TEST, CHECK, ON_A_RUN, POLICY])
def test_examples_fit_the_page_and_parse(text):
    ast.parse(text)
    assert max(map(len, text.splitlines())) <= 110
