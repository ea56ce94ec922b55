"""OSPF and BGP of both families, come up for real: who reaches whom, and which way."""

import dataclasses

import pytest
from servers import installed
from wiring import S, asked, found, others

from testbed.daemons.frr import Frr
from testbed.model import load_topology
from testbed.plan import bare
from testbed.roles import place
from testbed.venues.guest import Guest

pytestmark = pytest.mark.guest

# North's third router is behind a LAN, and the LAN is announced by routers that are not on it. North and
# south meet at the exchange, which they prefer to their provider.
TOPOLOGY = """
name: dual
defaults: {link: {delay: 1ms}}
isps:
  north: {asn: 64501, routers: [a, b, c]}
  south: {asn: 64502, routers: [a]}
  transit: {asn: 64510, routers: [a, b]}
exchanges:
  ix: {asn: 64520, members: [north.a, south.a]}
cdn:
  asn: 64600
  oca-asn: 64601
  zone: cdn.example
  routers: [pop]
  control: {at: cdn.pop}
  origin: {at: cdn.pop}
ocas:
  oca-s1: {at: south.a}
switches:
  office: {}
hosts:
  pc1: {at: office}
  pc2: {at: north.c}
  far: {at: south.a}
links:
  - {endpoints: [north.a, north.b]}
  - {endpoints: [north.a, office]}
  - {endpoints: [north.c, office]}
  - {endpoints: [north.a, ix]}
  - {endpoints: [south.a, ix]}
  - {endpoints: [transit.a, transit.b]}
  - {endpoints: [north.b, transit.a], relation: customer}
  - {endpoints: [south.a, transit.b], relation: customer}
  - {endpoints: [cdn.pop, transit.b], relation: customer}
"""


# FRR beside BIRD in one AS, alone in another, and towards an OCA.
MIXED = (
    ("north: {", "north: {daemons: {a: frr}, "), ("south: {", "south: {daemon: frr, "),
    ("transit: {", "transit: {daemons: {b: frr}, "), ("asn: 64600\n", "asn: 64600\n  daemon: frr\n"),
)  # fmt: skip


@pytest.fixture(scope="module", params=[(), MIXED], ids=["bird", "mixed"])
def job(request, tmp_path_factory):
    if request.param and not installed(Frr):
        pytest.skip("frr is not installed")
    path, text = tmp_path_factory.mktemp("topology") / "dual.yaml", TOPOLOGY
    for before, after in request.param:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    planned = bare(load_topology(path), clock="virtual")
    for node, targets in others(planned, "router", "host").items():
        planned = asked(planned, node, "ping", targets=targets)
    for host, target in (("far", "pc1"), ("transit.b", "pc1")):
        node = planned.node(target)
        planned = asked(planned, host, "trace", targets=[node.address, node.address6], most=8)
    resolver, ca = planned.node("south.resolver").address6, place(planned.node("oca-s1"), "ca.pem")
    names = [f"{name}.{planned.zone}" for name in ("oca-s1", "origin")]
    planned = asked(planned, "far", "visit", resolver=resolver, names=names, ca=ca)
    planned = asked(planned, "oca-s1", "learned", bird=place(planned.node("oca-s1"), "bird.ctl"))
    return dataclasses.replace(planned, duration_ns=20 * S)


@pytest.fixture(scope="module")
def ran(job, tmp_path_factory):
    run = tmp_path_factory.mktemp("routing")
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    return run


def test_everybody_reaches_everybody(job, ran):
    wanted = others(job, "router", "host")
    assert len(wanted) == 10
    for node, targets in wanted.items():
        pings = found(ran, f"{node}.ping")
        assert pings.keys() == {*targets}
        assert [target for target, took in pings.items() if took is None] == [], node


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("host", "way"),
    [
        ("far", ["south.a far", "north.a ix", "pc1 office"]),
        ("transit.b", ["transit.a transit.b", "north.b transit.a", "north.a north.b", "pc1 office"]),
    ],
)
def test_both_families_go_the_way_that_pays(job, ran, version, host, way):
    """A peer is preferred to a provider; whoever answers does so from the side it was reached at."""
    target = getattr(job.node("pc1"), "address" if version == 4 else "address6")
    hops = found(ran, f"{host}.trace")[target]
    wanted = []
    for name, side in map(str.split, way):
        (interface,) = (each for each in job.node(name).interfaces if each.peer == side)
        wanted.append((interface.address if version == 4 else interface.address6).partition("/")[0])
    assert [who for who, *_ in hops] == wanted


def test_the_servers_serve_over_ipv6_too(job, ran):
    """The ISP's resolver, the CDN's authority behind it, an OCA and the origin."""
    assert found(ran, "far.visit") == {
        f"{name}.{job.zone}": [job.node(name).address6, 204] for name in ("oca-s1", "origin")
    }


def test_an_oca_hears_of_its_isp_in_both_families(ran):
    """South has no customers and tells an OCA nothing that it heard from peers and providers."""
    assert found(ran, "oca-s1.learned") == {"10.2.0.0/18": [64502], "2001:db8:2::/52": [64502]}
