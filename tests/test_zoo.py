"""Networks of the Internet Topology Zoo come up with OSPF, and every pair of their routers pings."""

import dataclasses
import json
from pathlib import Path

import pytest
from wiring import S, asked, found, others

from testbed.imports import zoo
from testbed.model import load_topology
from testbed.plan import bare
from testbed.venues.guest import Guest

# Knight et al., "The Internet Topology Zoo", IEEE JSAC 29(9), 2011; the data lie beside the project
ZOO = Path(__file__).parents[2] / "shared" / "data" / "topology-zoo"
pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not ZOO.is_dir(), reason=f"the networks of the Topology Zoo are not in {ZOO}"),
]


@pytest.mark.parametrize("name", ["Abilene", "AttMpls", "BtEurope", "Geant2012"])
def test_every_pair_of_routers_pings(name, tmp_path):
    (tmp_path / "zoo.yaml").write_text(zoo.read(ZOO / f"{name}.gml").yaml())
    job = bare(load_topology(tmp_path / "zoo.yaml"), clock="virtual")
    targets = others(job, "router")
    first = next(iter(targets))
    job = dataclasses.replace(asked(job, first, "ping_all", targets=targets), duration_ns=len(targets) * S)
    (tmp_path / "job.json").write_text(job.dumps())
    Guest().run(job, tmp_path, lambda *_: None)
    pings = found(tmp_path, f"{first}.ping_all")
    assert {node: list(answers) for node, answers in pings.items()} == targets
    lost = [(node, at) for node, answers in pings.items() for at, took in answers.items() if took is None]
    assert lost == []
    # OSPF has long settled when its neighbours have found each other: a wait on the database and no more
    assert json.loads((tmp_path / "guest.json").read_text())["settled_ns"] <= 10 * S
