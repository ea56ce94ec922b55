import pytest

from testbed import provenance


@pytest.mark.parametrize(
    ("line", "number"), [("BIRD version 2.0.12", "2.0.12"), ("nginx/1.22.1", "1.22.1"), ("no number", "")]
)
def test_a_version_is_the_first_number_a_program_prints(monkeypatch, tmp_path, line, number):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr(provenance, "PROGRAMS_PATH", str(tmp_path))
    assert provenance._says("program", "--version") == number


def test_what_is_not_installed_has_no_version(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "PROGRAMS_PATH", str(tmp_path))
    found = provenance.versions()
    assert "bird" not in found
    assert found["pyroute2"]
