import pytest
from test_plan import planned

from testbed import doctor, pipeline
from testbed.daemons.frr import Frr
from testbed.measure import native
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


def test_a_topologys_daemons_are_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(doctor, "kinds", lambda group: {"ready": Ready} if group == "venues" else {})
    monkeypatch.setattr(Frr, "programs", {"/usr/lib/frr/no-such": "frr"})
    wanted = Lack("the program /usr/lib/frr/no-such", "sudo apt-get install frr")
    found = doctor.diagnose(planned(**{"topology.isps.north.daemon": "frr"}))
    assert wanted in found["ready"]
    assert wanted not in doctor.diagnose(planned())["ready"]


def test_the_registry_knows_the_guest():
    assert "guest" in kinds("venues")


def test_a_compiler_for_the_analysis_is_asked_for_once_and_not_when_it_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "kinds", lambda group: {"ready": Ready} if group == "venues" else {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    wanted = Lack("the program gcc", native.INSTALL)
    assert doctor.diagnose() == {"ready": [wanted]}
    assert pipeline.completed([wanted]) == [wanted]
    native.path().parent.mkdir(parents=True)
    native.path().touch()
    assert doctor.diagnose() == {"ready": []}


def test_a_compiler_that_fails_or_a_cache_that_cannot_be_written_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "COMPILE", ("false",))
    with pytest.raises(native.NotCompiled, match="apt-get install gcc"):
        native.compiled()
    (tmp_path / "cache" / "testbed" / "measure").rmdir()
    (tmp_path / "cache" / "testbed" / "measure").touch()
    with pytest.raises(native.NotCompiled, match="set XDG_CACHE_HOME"):
        native.compiled()


def test_the_analysis_is_compiled_where_there_is_no_path(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "COMPILE", ("gcc", "-O0", "-shared", "-fPIC"))
    monkeypatch.delenv("PATH")
    assert native.compiled().is_file()
