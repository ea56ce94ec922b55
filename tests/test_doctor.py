import pytest

from testbed import doctor
from testbed.registry import kinds
from testbed.venues import Lack


class Ready:
    kind = "ready"

    def lacks(self):
        return []


class Poor:
    kind = "poor"

    def lacks(self):
        return [Lack("the program bird", "sudo apt-get install bird2")]


def test_every_venue_is_asked(monkeypatch):
    monkeypatch.setattr(
        doctor, "kinds", lambda group: {"poor": Poor, "ready": Ready} if group == "venues" else {}
    )
    assert doctor.diagnose() == {
        "poor": [Lack("the program bird", "sudo apt-get install bird2")],
        "ready": [],
    }


def test_the_registry_knows_the_guest():
    assert "guest" in kinds("venues")


@pytest.mark.parametrize(
    ("line", "number"), [("BIRD version 2.0.12", "2.0.12"), ("nginx/1.22.1", "1.22.1"), ("no number", None)]
)
def test_a_version_is_the_first_number_a_program_prints(monkeypatch, tmp_path, line, number):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "PROGRAMS_PATH", str(tmp_path))
    assert doctor._program_version("program", "--version") == number


def test_what_is_not_installed_has_no_version(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PROGRAMS_PATH", str(tmp_path))
    found = doctor.versions()
    assert "bird" not in found
    assert found["pyroute2"]
