import json

import pytest

from testbed.job import Fault, Interface, Job, Link, Node, Shape
from testbed.venues.guest import Guest

S = 10**9


@pytest.mark.guest
def test_a_fault_of_another_package_strikes_in_the_guest(tmp_path):
    shape = Shape(delay_ns=10**6)
    nodes = tuple(
        Node(
            name=name,
            role="client",
            interfaces=(
                Interface(
                    name="eth0",
                    link="a--b",
                    mac=f"02:00:00:00:00:0{n}",
                    address=f"10.0.0.{n}/31",
                    shape=shape,
                ),
            ),
        )
        for n, name in enumerate("ab")
    )
    link = Link(name="a--b", a="a", a_interface="eth0", b="b", b_interface="eth0", a_to_b=shape, b_to_a=shape)
    cut = Fault(
        id=1, kind="cut", source="outside_fault:Cut", at_ns=S, lasts_ns=S, target="a--b",
        parameters={"link": "a--b"},
    )  # fmt: skip
    job = Job(
        scenario="s", topology="t", seed=1, clock="virtual", duration_ns=3 * S,
        epoch_ns=1_767_225_600 * S, zone="cdn.example", nodes=nodes, links=(link,), faults=(cut,),
    )  # fmt: skip
    (tmp_path / "job.json").write_text(job.dumps())
    Guest().run(job, tmp_path, lambda *_: None)
    rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    phases = [row["phase"] for row in rows if row["table"] == "events" and row["fault"] == 1]
    assert phases == ["planned", "began", "ended", "healed"]
