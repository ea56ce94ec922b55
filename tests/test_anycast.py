"""One address that every OCA has: BGP decides whom it serves, and takes the dead one out of use."""

from pathlib import Path

import pytest
from servers import BIRD, bird_refuses
from test_steered import run

from testbed import model
from testbed.job import NODES
from testbed.measure.tables import Tables
from testbed.plan import plan

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def job():
    return plan(model.load_scenario(HERE / "cdn" / "anycast.yaml"))


def test_every_oca_has_the_address_and_the_name_leads_there(job):
    for oca in ("oca-a", "oca-x"):
        assert job.node(oca).loopbacks == ("198.51.100.1/32", "2001:db8:ca::1/128")
        served = job.node(oca).files[f"{NODES}/{oca}/nginx.conf"]
        assert "listen 198.51.100.1:443" in served
        assert "listen [2001:db8:ca::1]:443" in served
    zone = job.node("authority").files[f"{NODES}/authority/cdn.zone"].splitlines()
    assert [line for line in zone if line.startswith("edge")] == [
        "edge IN A 198.51.100.1", "edge IN AAAA 2001:db8:ca::1",
    ]  # fmt: skip
    assert job.node("origin").loopbacks == ()


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_bird_accepts_it_and_a_router_takes_nothing_else_from_an_oca(job, tmp_path):
    for name in ("oca-a", "north.core", "cdn.pop"):
        assert bird_refuses(job.node(name).files, tmp_path / name) == ""
    router = job.node("north.core").files[f"{NODES}/north.core/bird.conf"]
    assert "net ~ [198.51.100.0/24{24,24}]" in router
    assert "net ~ [2001:db8:ca::/48{48,48}]" in router


@pytest.mark.guest
def test_clients_go_to_the_nearest_by_bgp_and_elsewhere_when_it_is_dead(tmp_path):
    tables = Tables(run("anycast", tmp_path))
    where = """select distinct node from flows
               where server = '2001:db8:ca::1' and node like 'oca-%' and start_ns {} 12e9"""
    assert tables.sql(where.format("<")) == [("oca-a",)]
    assert tables.sql(where.format(">")) == [("oca-x",)]
    # the route goes when the session does, and not when somebody reports
    (withdrawn,) = tables.sql(
        """select min(t_ns) from bgp where prefix = '2001:db8:ca::/48' and kind = 'withdraw'
           and peer = 'north.core' and t_ns > 0"""
    )
    assert 12e9 < withdrawn[0] < 12.1e9
    assert tables.sql("select distinct outcome, failovers from sessions") == [("completed", 0)]
