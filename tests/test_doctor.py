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
