import dataclasses
import json
import time

import made
import pytest

from testbed.emulate.timeline import Faults, Timeline
from testbed.job import Fault
from testbed.services.records import Records
from testbed.testing import FakeNet

MS = 1_000_000


def test_things_are_done_in_the_order_of_their_times_and_of_entry():
    timeline = Timeline(time.time_ns())
    done = []
    timeline.at(2 * MS, lambda: done.append("c"))
    timeline.at(1 * MS, lambda: done.append("a"))
    timeline.at(1 * MS, lambda: done.append("b"))

    def more():
        done.append("d")
        timeline.at(3 * MS, lambda: done.append("f"))
        timeline.at(2 * MS, lambda: done.append("e"))

    timeline.at(2 * MS, more)
    timeline.run()
    assert done == ["a", "b", "c", "d", "e", "f"]


def test_nothing_is_done_before_its_time():
    start = time.time_ns()
    timeline = Timeline(start)
    seen = []
    timeline.at(5 * MS, lambda: seen.append(time.time_ns() - start))
    timeline.run()
    assert seen[0] >= 5 * MS


def impairment(number, at_ms, lasts_ms, **parameters):
    given = {"link": "oca-n1--north.core", "direction": "both", "jitter": None, "loss": None, "rate": None}
    return Fault(
        id=number, kind="link-impair", at_ns=at_ms * MS, lasts_ns=lasts_ms * MS, target="oca-n1--north.core",
        source="testbed.faults.link_impair:LinkImpair", parameters=given | parameters,
    )  # fmt: skip


@pytest.fixture
def happened(tmp_path):
    """A function that runs faults on a fake network; (fault, phase) in order, and the network after."""

    def run(*faults, net=FakeNet, then=()):
        network = net(dataclasses.replace(made.job(), faults=faults))
        timeline = Timeline(time.time_ns())
        Faults(network, Records(str(tmp_path / "events.jsonl"))).put_on(timeline)
        for at_ms, action in then:
            timeline.at(at_ms * MS, lambda action=action: action(network))
        timeline.run()
        rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        return [(row["fault"], row["phase"]) for row in rows], rows

    return run


def test_overlapping_faults_are_laid_over_one_another_and_heal_when_all_are_over(happened):
    delays = []

    def look(network):
        delays.append(network.shape("oca-n1--north.core", "forward").delay_ns // MS)

    phases, _ = happened(
        impairment(1, 1, 6, delay=50 * MS),
        impairment(2, 3, 8, delay=80 * MS),
        then=[(0, look), (2, look), (5, look), (9, look), (20, look)],
    )
    assert delays == [5, 50, 80, 80, 5]
    assert phases == [
        (1, "planned"), (2, "planned"), (1, "began"), (2, "began"), (1, "ended"), (2, "ended"),
        (1, "healed"), (2, "healed"),
    ]  # fmt: skip


def test_what_a_fault_leaves_behind_is_said(happened):
    class Leaking(FakeNet):
        def state(self):
            self.asked = getattr(self, "asked", 0) + 1
            return {"north.core": {"queues": [self.asked]}}

    phases, rows = happened(impairment(1, 1, 1, delay=50 * MS), net=Leaking)
    assert phases[-1] == (1, "not-healed")
    assert "north.core: queues: was [1], is [2]" in rows[-1]["detail"]
