"""Loading: what good files become, what --set changes, and that nothing makes it work without bound."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed import model, registry
from testbed.faults import Fault, LinkName, NodeName
from testbed.model import document
from testbed.plan import plan
from testbed.refusal import PROBLEMS_MOST

ROOT = Path(__file__).parent.parent
METRO = ROOT / "topologies" / "metro.yaml"
OCA_CRASH = ROOT / "scenarios" / "oca-crash.yaml"

SMALL = """\
name: small
isps:
  north: {asn: 64501, routers: [core], clients: {homes: {count: 2, at: core, access: cable}}}
access: {cable: {down: {rate: 10mbit}, up: {rate: 1mbit}}}
cdn:
  {asn: 64600, oca-asn: 64601, zone: cdn.example, routers: [pop],
   control: {at: cdn.pop}, origin: {at: cdn.pop}}
links:
  - {endpoints: [north.core, cdn.pop], relation: peer}
"""
SCENE = """\
name: scene
topology: small.yaml
duration: 60s
titles:
  film: {length: 20s, segment: 4s, bitrates: [235kbit, 1mbit]}
workload:
  - {kind: playback, clients: north.homes, title: film, arrivals: {every: 1s}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files into a folder of their own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)

    def write(text: str | bytes, name: str = "scene.yaml") -> Path:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path(name)

    return write


def refused(path: Path, **given) -> list[str]:
    with pytest.raises(model.Refused) as refusal:
        (model.load_scenario if "scene" in path.name or given else model.load_topology)(path, **given)
    return [str(problem) for problem in refusal.value.problems]


def test_the_topology_of_the_demo_loads():
    topology = model.load_topology(METRO).topology
    assert topology.name == "metro"
    assert {name: isp.asn for name, isp in topology.isps.items()} == {
        "north": 64501,
        "south": 64502,
        "transit": 64510,
    }
    assert topology.exchanges["ix"].route_server is True
    assert topology.access["lte"].down.loss.parameters == pytest.approx((0.0001,))
    assert topology.access["cable"].up.queue.ns == 150_000_000
    assert topology.ocas["oca-n1"].rate == 10**10
    assert topology.cdn.oca_asn == 64601
    assert topology.wire_name(topology.links[2]) == "north.core--ix"


def test_the_scenario_of_the_demo_loads():
    loaded = model.load_scenario(OCA_CRASH)
    scenario = loaded.scenario
    assert (scenario.duration, scenario.seed, scenario.captures) == (180 * 10**9, 1, "all")
    assert scenario.titles["film"].bitrates[0] == 235_000
    assert scenario.workload[1].arrivals.every == 2 * 10**9
    fault = scenario.faults[0]
    assert (fault.kind, fault.target, fault.at, fault.lasts) == (
        "oca-crash",
        "oca-n1",
        60 * 10**9,
        60 * 10**9,
    )
    assert [check.kind for check in scenario.checks] == [
        "rebuffer-ratio",
        "failover-time",
        "sessions-complete",
        "sql",
    ]
    assert scenario.checks[0].max == pytest.approx(0.005)
    assert loaded.sources == {
        "oca-crash.yaml": OCA_CRASH.read_text(),
        "../topologies/metro.yaml": METRO.read_text(),
    }


def test_the_names_of_a_topology_are_those_of_its_plan():
    loaded = model.load_scenario(OCA_CRASH)
    job = plan(loaded)
    assert {node.name for node in job.nodes if node.role != "client"} == loaded.topology.nodes
    assert all(loaded.topology.has_node(node.name) for node in job.nodes)
    assert all(loaded.topology.has_link(link.name) for link in job.links)
    assert {link.name for link in job.links} >= loaded.topology.wires


@pytest.mark.parametrize(
    "name", ["north.homes.0", "north.homes.9", "north.homes.01", "north.homes", "north.homes.x"]
)
def test_a_client_that_is_not_there_is_no_node(name):
    topology = model.load_topology(METRO).topology
    assert topology.has_node("north.homes.8")
    assert not topology.has_node(name)
    assert topology.has_link("north.edge--north.homes.8")
    assert not topology.has_link(f"north.edge--{name}")


def test_a_set_replaces_values_of_both_files(write):
    loaded = model.load_scenario(
        write(SCENE),
        [
            "duration=30s",
            "titles.film.length=8s",
            "titles.film.bitrates=[1mbit, 2mbit]",
            "workload.0.arrivals={every: 2s, first: 1s}",
            "workload.0.abr=throughput",
            "topology.isps.north.clients.homes.count=5",
            "topology.cdn.urls=2",
            "topology.links.0.delay=3ms",
        ],
        seed=9,
    )
    scenario, topology = loaded.scenario, loaded.topology
    assert (scenario.duration, scenario.seed, scenario.titles["film"].length) == (30 * 10**9, 9, 8 * 10**9)
    assert scenario.titles["film"].bitrates == [10**6, 2 * 10**6]
    assert (scenario.workload[0].arrivals.first, scenario.workload[0].abr.kind) == (10**9, "throughput")
    assert topology.populations["north.homes"].count == 5
    assert (topology.cdn.urls, topology.links[0].delay) == (2, 3_000_000)
    assert loaded.sources["small.yaml"] == SMALL


def test_a_set_of_the_topology_names_another(write):
    write(SMALL.replace("name: small", "name: other"), "other.yaml")
    assert model.load_scenario(write(SCENE), ["topology=other.yaml"]).topology.name == "other"


def test_a_set_of_what_an_alias_shares_changes_one_place(write):
    text = SMALL.replace(
        "control: {at: cdn.pop}, origin: {at: cdn.pop}", "control: &here {at: cdn.pop}, origin: *here"
    )
    write(text, "small.yaml")
    cdn = model.load_scenario(write(SCENE), ["topology.cdn.origin.delay=9ms"]).topology.cdn
    assert (cdn.origin.delay, cdn.control.delay) == (9_000_000, None)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("duration", "--set: 'duration' is not a path and a value; write for example faults.0.at=30s"),
        ("=1", "--set: '=1' is not a path and a value; write for example faults.0.at=30s"),
        (
            "workload.1.title=film",
            "--set: workload.1.title: '1' is no item of the list; its items are 0 to 0",
        ),
        ("titles.flim.length=9s", "--set: titles.flim.length: 'flim' names nothing; did you mean film?"),
        ("duraton=9s", "--set: duraton: is not a key here; did you mean duration, which is there already?"),
        ("duration=9", "--set: duration: 9 has no unit; did you mean 9ms or 9s?"),
        (
            "duration=1:30",
            "--set: duration: YAML 1.1 reads 1:30 as 90, in base 60; write a time with its unit",
        ),
        ("duration=[", "--set: duration: is not YAML"),
        (
            "duration.s=9",
            "--set: duration.s: 's' names nothing: what is there has no keys; write a shorter path",
        ),
        (
            "topology.isps.nort.asn=5",
            "--set: topology.isps.nort.asn: 'nort' names nothing; did you mean north?",
        ),
        (
            "topology.isps.north.asn=0",
            "--set: topology.isps.north.asn: 0 is reserved (RFC 7607); write for example",
        ),
        (
            "topology.links.0.relation=pear",
            "--set: topology.links.0.relation: 'pear' is not possible here; did you",
        ),
    ],
)
def test_a_set_that_is_wrong_says_so(write, setting, expected):
    [problem] = refused(write(SCENE), sets=[setting])
    assert problem.startswith(expected)


def test_a_seed_out_of_range_is_refused(write):
    [problem] = refused(write(SCENE), seed=2**63)
    assert problem == "--seed: seed: 9223372036854775808 is too much; write less than 9223372036854775808"


def test_problems_of_scenario_and_topology_come_together(write):
    write(SMALL.replace("rate: 1mbit", "rate: 1"), "small.yaml")
    problems = refused(write(SCENE.replace("duration: 60s", "duration: 60")))
    assert [problem.partition(": ")[0] for problem in problems] == ["scene.yaml:3:11", "small.yaml:4:51"]


def test_what_cannot_be_read_is_said_without_a_traceback(write, tmp_path):
    write(b"")
    assert refused(Path("none.yaml")) == [
        "none.yaml: cannot read none.yaml: No such file or directory; write the path of a YAML file"
    ]
    assert refused(tmp_path)[0].endswith("Is a directory; write the path of a YAML file")
    assert "null byte" in refused(Path("nul\0l.yaml"))[0]
    assert "null byte" in refused(write(SCENE.replace("small.yaml", '"a\\0b"')))[0]


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(write):
    text = b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode()
    assert model.load_topology(write(text, "small.yaml")).topology.name == "small"


def test_a_quoted_word_is_text_and_no_trap(write):
    text = SMALL.replace("homes", '"no"')
    assert list(model.load_topology(write(text, "small.yaml")).topology.populations) == ["north.no"]


@pytest.fixture
def events(monkeypatch):
    """The events that the YAML parser was asked for."""
    taken = []
    parse = yaml.parse

    def counted(*args, **given):
        for event in parse(*args, **given):
            taken.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    return taken


def bomb() -> str:
    """A megabyte that is ten to the ninth values with its aliases written out."""
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]
    padding = "# " + "x" * 997 + "\n"
    return "\n".join(lines) + "\n" + padding * (1000 - 1)


def test_an_alias_bomb_of_a_megabyte_is_refused_before_it_goes_off(write, events):
    text = bomb()
    assert 990_000 < len(text) < document.BYTES_MOST
    [problem] = refused(write(text, "bomb.yaml"))
    assert problem == (
        "bomb.yaml:5:45: a4.7: the file holds more than 100,000 values with its aliases written out; "
        "use counts in place of repetition"
    )
    assert len(events) < 200


def test_a_bomb_without_aliases_costs_no_more_than_its_limit(write, events):
    [problem] = refused(write("name: [" + "a," * 500_000 + "]", "bomb.yaml"))
    assert "more than 100,000 values" in problem
    assert len(events) < document.NODES_MOST + 10


def test_deep_nesting_is_refused_at_its_limit(write, events):
    [problem] = refused(write("name: " + "[" * 500_000, "deep.yaml"))
    assert "is nested more than 50 deep" in problem
    assert len(events) < 100


def test_a_file_over_the_limit_is_not_parsed(write, events):
    [problem] = refused(write("#" * (document.BYTES_MOST + 1), "large.yaml"))
    assert "larger than 1 MiB" in problem
    assert events == []


def test_so_many_problems_are_not_all_told(write, monkeypatch):
    hints = itertools.count()
    monkeypatch.setattr("difflib.get_close_matches", lambda *args, **given: next(hints) and [])
    text = SCENE + "captures: [" + ", ".join(["ix--ox"] * 20_000) + "]\n"
    problems = refused(write(text))
    assert len(problems) == PROBLEMS_MOST + 1
    assert next(hints) <= PROBLEMS_MOST + 1
    text = SMALL + "".join(f"key{n}: 1\n" for n in range(20_000))
    problems = refused(write(text, "small.yaml"))
    assert len(problems) == PROBLEMS_MOST + 1
    assert problems[-1] == "small.yaml: has more than 100 errors; mend these first"
    assert next(hints) <= 2 * PROBLEMS_MOST + 3


VIDEO = {"segment_duration_ms": 3000, "bitrates_kbps": [230, 331], "segment_sizes_bits": [[8000, 16000]] * 4}


def test_a_title_may_come_from_a_file(write):
    write(json.dumps(VIDEO), "video.json")
    text = SCENE.replace("{length: 20s, segment: 4s, bitrates: [235kbit, 1mbit]}", "{file: video.json}")
    loaded = model.load_scenario(write(text))
    assert loaded.scenario.titles["film"].file == Path("video.json")
    assert plan(loaded).titles[0].segment_bytes == ((1000, 2000),) * 4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bitrates_kbps": [331, 230]}, "bitrates must rise"),
        ({"segment_sizes_bits": [[8000]]}, "not one size for each"),
        ({"segment_sizes_bits": [[0, 1]]}, "not a positive whole number"),
        ({"segment_duration_ms": "3 s"}, "not a positive whole number"),
    ],
)
def test_a_bad_segment_list_is_told_at_the_key_that_names_it(write, change, expected):
    write(json.dumps(VIDEO | change), "video.json")
    text = SCENE.replace("{length: 20s, segment: 4s, bitrates: [235kbit, 1mbit]}", "{file: video.json}")
    [problem] = refused(write(text))
    assert problem.startswith("scene.yaml:5:16: titles.film.file: video.json: ")
    assert expected in problem


def test_a_segment_list_nested_without_end_is_refused(write):
    write("[" * 100_000, "video.json")
    text = SCENE.replace("{length: 20s, segment: 4s, bitrates: [235kbit, 1mbit]}", "{file: video.json}")
    assert refused(write(text))[0].startswith("scene.yaml:5:16: titles.film.file: ")


@dataclass(kw_only=True)
class Outage(Fault):
    """{kind: outage, at: 5s, lasts: 5s, links: [north.core--cdn.pop], first-node: north.core}"""

    kind: ClassVar[str] = "outage"

    links: tuple[LinkName, ...]
    first_node: NodeName | None = None
    json: bool = False  # which is a method of pydantic's models too


@pytest.fixture
def outage(monkeypatch):
    """A third party's fault, in place of ours."""
    kinds = registry.kinds
    monkeypatch.setattr(
        registry, "kinds", lambda group: {"outage": Outage} if group == "faults" else kinds(group)
    )


def test_a_fault_of_a_third_party_is_read_by_its_fields(write, outage):
    text = (
        SCENE
        + "faults:\n  - {kind: outage, at: 5s, lasts: 5s, links: [cdn.pop--north.core], first-node: origin}\n"
    )
    [fault] = model.load_scenario(write(text)).scenario.faults
    assert fault == Outage(at=5 * 10**9, lasts=5 * 10**9, links=("cdn.pop--north.core",), first_node="origin")


def test_the_names_in_a_third_partys_fault_are_checked(write, outage):
    text = (
        SCENE
        + "faults:\n  - {kind: outage, at: 5s, lasts: 5s, links: [a--b], first-node: north.cor, jsn: true}\n"
    )
    assert refused(write(text)) == [
        "scene.yaml:9:77: faults.0.jsn: is not a key here; did you mean json?",
    ]
    assert refused(write(text.replace(", jsn: true", ""))) == [
        "scene.yaml:9:47: faults.0.links.0: there is no link 'a--b'; write for example north.core--cdn.pop",
        "scene.yaml:9:66: faults.0.first-node: there is no node 'north.cor'; did you mean north.core?",
    ]


WORDS = st.sampled_from(
    [
        *"{}[],:-?&*!|>'\"%@`#\n ",
        "a",
        "name",
        "isps",
        "links",
        "&a",
        "*a",
        "1:30",
        "010",
        "10ms",
        "\t",
        "\u2028",
        "---",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(WORDS, max_size=40).map(lambda words: "".join(words).encode())
    )
)
def test_whatever_a_file_holds_it_is_loaded_or_refused(write, text):
    path = write(text, "any.yaml")
    with pytest.raises(model.Refused) as refusal:
        model.load_topology(path)
    assert all("\n" not in str(problem) for problem in refusal.value.problems)


LINES = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["", "asn: 1", "x: [", "- 1", "}", "links: 5", "~"]))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.integers(0, 400), st.integers(0, 40))
def test_whatever_happens_to_a_good_file_it_is_loaded_or_refused(write, changes, start, length):
    lines = SMALL.splitlines()
    for place, line in changes:
        lines.insert(place, line)
    text = "\n".join(lines)
    path = write(text[:start] + text[start + length :], "any.yaml")
    try:
        loaded = model.load_topology(path)
    except model.Refused as refusal:
        problems = refusal.problems
    else:
        problems = loaded.topology.cdn.routers
    assert problems


def test_a_circle_of_customers_is_warned_of_with_the_circle():
    """Routing need not settle there, which somebody may want to see."""
    (warning,) = model.load_topology(Path(__file__).parent / "circle-of-customers.yaml").warnings
    assert warning.path == "links.1.relation"
    assert "circle: north, west, south, north" in warning.what
