"""Bad input lies beside its exact refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from testbed import model

FOLDER = Path(__file__).parent / "refused"
FILES = sorted(FOLDER.glob("*.yaml"))
IN_WORDS_OF_LIBYAML = {"topology-open-bracket.yaml"}


def refusal(name: str) -> list[str]:
    load = model.load_scenario if name.startswith("scenario-") else model.load_topology
    with pytest.raises(model.Refused) as refused:
        load(Path(name))
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bad_input_is_refused_word_for_word(path, monkeypatch):
    if path.name in IN_WORDS_OF_LIBYAML and not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML is built without libyaml, whose words the refusal repeats")
    monkeypatch.chdir(FOLDER)
    assert refusal(path.name) == path.with_suffix(".error").read_text().splitlines()


def test_every_refusal_has_its_input():
    assert {path.stem for path in FOLDER.glob("*.error")} == {path.stem for path in FILES}
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_problem_has_a_place_and_a_hint(path, monkeypatch):
    monkeypatch.chdir(FOLDER)
    load = model.load_scenario if path.name.startswith("scenario-") else model.load_topology
    with pytest.raises(model.Refused) as refused:
        load(Path(path.name))
    for problem in refused.value.problems:
        assert problem.file in {path.name, "topology-in-two-pieces.yaml"}
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.what
        assert problem.hint
