"""The JSON Schemas take what the loader takes, and refuse the plain mistakes that an editor should mark."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml

from testbed import model, registry
from testbed.model.schema import LinkSpec

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema judges the schemas; pip install jsonschema")

ROOT = Path(__file__).parent.parent
TOPOLOGY = yaml.safe_load((ROOT / "topologies" / "metro.yaml").read_text())
SCENARIO = yaml.safe_load((ROOT / "scenarios" / "oca-crash.yaml").read_text())

IMPAIR = {"kind": "link-impair", "link": "a--b", "at": "1s", "lasts": "1s"}


def errors(of: str, document: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(model.json_schema(of))
    return [error.json_path for error in validator.iter_errors(document)]


@pytest.mark.parametrize("of", ["topology", "scenario"])
def test_the_schema_is_one_of_draft_2020_12(of):
    schema = model.json_schema(of)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_the_schemas_take_the_demo():
    assert errors("topology", TOPOLOGY) == []
    assert errors("scenario", SCENARIO) == []


@pytest.mark.parametrize(
    ("of", "path", "value"),
    [
        ("topology", ("isps", "north", "asn"), "64501"),
        ("topology", ("isps", "north", "router"), ["core"]),
        ("topology", ("links", 0, "rate"), 100),
        ("topology", ("links", 0, "delay"), "10 parsec"),
        ("topology", ("links", 0, "loss"), "101%"),
        ("topology", ("links", 0, "loss"), {"model": "gilbert", "p": "1%"}),
        ("topology", ("links", 0, "loss"), {"model": "4-state", "p13": "1%"}),
        ("topology", ("links", 0, "jitter"), {"by": "1ms", "distribution": "gauss"}),
        ("topology", ("links", 0, "aqm"), "blue"),
        ("topology", ("links", 0, "aqm"), {"kind": "codel", "min": "1kB"}),
        ("topology", ("links", 0, "queue"), "1 bucket"),
        ("topology", ("links", 0, "mtu"), 40),
        ("topology", ("isps", "north", "asn"), 2**32),
        ("topology", ("exchanges", "ix", "route_server"), True),
        ("scenario", ("duration",), "180"),
        ("scenario", ("workload", 0, "abr"), "bolas"),
        ("scenario", ("faults", 0, "kind"), "oca-crush"),
        ("scenario", ("faults", 0, "targt"), "oca-n1"),
        ("scenario", ("faults", 0), {**IMPAIR, "loss": {"model": "gilbert-elliott", "burst": 0}}),
        ("scenario", ("captures",), "some"),
    ],
)
def test_the_schemas_refuse_plain_mistakes(of, path, value):
    document = copy.deepcopy(TOPOLOGY if of == "topology" else SCENARIO)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert errors(of, document)


@pytest.mark.parametrize(
    "words",
    [
        {"trace": "lte.down", "delay": 0, "queue": "1.5bdp", "mtu": 1400},
        {"jitter": "1ms", "loss": "100.0%", "duplicate": "0.1%", "reorder": "099%", "corrupt": 0},
        {"jitter": {"by": "1ms", "distribution": "pareto", "correlation": "25%"}, "queue": "64KiB"},
        {"loss": {"model": "gilbert-elliott", "mean": "1%", "burst": 4.5}, "aqm": "fq_codel", "ecn": True},
        {"loss": {"model": "4-state", "p13": "1%", "p31": "9%"}, "aqm": {"kind": "red", "min": "30kB"}},
    ],
)
def test_the_schemas_take_every_word_of_a_link(words):
    document = copy.deepcopy(TOPOLOGY)
    document["defaults"]["link"] = words
    assert errors("topology", document) == []
    faults = {**SCENARIO, "faults": [{**IMPAIR, **words}]}
    named = {"trace", "mtu"} & set(words)  # which no fault changes
    assert bool(errors("scenario", faults)) is bool(named)


@pytest.mark.parametrize("group", ["faults", "checks"])
def test_every_kind_is_in_the_schema(group):
    kinds = [
        one["properties"]["kind"]["const"]
        for one in model.json_schema("scenario")["properties"][group]["items"]["oneOf"]
    ]
    assert kinds == list(registry.kinds(group))


def test_keys_have_dashes_and_defaults_their_units():
    cdn = model.json_schema("topology")["$defs"]["Cdn"]["properties"]
    assert "oca-asn" in cdn
    assert cdn["report"]["default"] == "5s"


def test_every_key_of_a_link_says_what_it_is():
    for name, found in model.json_schema("topology")["$defs"]["LinkSpec"]["properties"].items():
        assert found.get("description"), name
        for long in (option for option in found["anyOf"][0].get("anyOf", ()) if "properties" in option):
            told = {key for key, value in long["properties"].items() if value.get("description")}
            assert told >= set(long["properties"]) - {"kind", "model"}


def test_a_links_own_words_lie_over_the_defaults():
    below = LinkSpec.model_validate({"rate": "1gbit", "delay": "1ms"})
    above = LinkSpec.model_validate({"delay": 0, "queue": "10p"})
    whole = above.over(below)
    assert (whole.rate, whole.delay, whole.jitter, whole.queue.packets) == (10**9, 0, None, 10)
