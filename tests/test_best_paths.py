"""Daemons do what the description means: their best paths are the model's, and packets take them."""

import dataclasses
import re

import pytest
import yaml
from bgp_model import converged
from servers import installed
from test_policy import described
from wiring import S, asked, found

from testbed.daemons.frr import Frr
from testbed.model import load_topology
from testbed.plan import bare
from testbed.venues.guest import Guest

pytestmark = pytest.mark.guest

# Big is a square, content beside two of its corners: whoever is in big leaves it where that is nearest.
# Its two ways from a to c cost the same. Reflected has two clusters, and a customer at the far end of each.
TOPOLOGY = """
name: paths
families: [ipv4]
defaults: {link: {delay: 1ms}}
isps:
  big: {asn: 64501, routers: [a, b, c, d], ecmp: 2}
  content:
    asn: 64502
    routers: [p, q]
    originate:
      - {prefix: 192.0.2.0/24, at: [p, q], anycast: true}
  reflected: {asn: 64503, routers: [a, b, c, d], clusters: {b: [a], c: [d]}, ospf: {hello: 1s, dead: 4s}}
  one: {asn: 64504, routers: [a]}
  two: {asn: 64505, routers: [a, b]}
exchanges:
  ix:
    asn: 64520
    members: [content.q, reflected.d, one.a, two.a]
    bilateral:
      - {members: [one.a, two.a], announce: {two.a: {communities: ['64505:7', '64505:1:7'], med: 30}}}
hosts:
  west: {at: big.a}
  east: {at: big.c}
  far: {at: content.p}
links:
  - {endpoints: [big.a, big.b]}
  - {endpoints: [big.b, big.c], cost: 30}
  - {endpoints: [big.a, big.d], cost: 30}
  - {endpoints: [big.d, big.c]}
  - {endpoints: [content.p, content.q]}
  - {endpoints: [big.a, content.p], relation: peer}
  - {endpoints: [big.c, content.q], relation: peer}
  - {endpoints: [reflected.a, reflected.b]}
  - {endpoints: [reflected.b, reflected.c]}
  - {endpoints: [reflected.c, reflected.d]}
  - {endpoints: [reflected.a, big.b], relation: customer, announce: {reflected.a: {prepend: 2, med: 5}}}
  - {endpoints: [one.a, reflected.a], relation: customer}
  - {endpoints: [two.b, reflected.d], relation: customer}
  - {endpoints: [two.a, two.b]}
  - {endpoints: [content.q, ix], announce: {content.q: {not-to: [one]}}}
  - {endpoints: [reflected.d, ix], announce: {reflected.d: {only-to: [one]}}}
  - endpoints: [one.a, ix]
    announce: {one.a: {prefixes: [10.4.0.0/20, 10.4.0.0/18], communities: ['0:64505']}}
  - {endpoints: [two.a, ix]}
"""


# FRR alone in one AS, beside BIRD in others, as reflector of BIRDs and as the route server.
MIXED = {
    "isps": {
        "big": {"daemon": "frr"},
        "content": {"daemons": {"p": "frr"}},
        "reflected": {"daemons": {"b": "frr"}},
        "one": {"daemon": "frr"},
        "two": {"daemons": {"b": "frr"}},
    },
    "exchanges": {"ix": {"daemon": "frr"}},
}


def topology(mixed):
    data = yaml.safe_load(TOPOLOGY)
    for kind, networks in mixed.items():
        for name, words in networks.items():
            data[kind][name] |= words
    return data


@pytest.fixture(scope="module", params=[{}, MIXED], ids=["bird", "mixed"])
def data(request):
    if request.param and not installed(Frr):
        pytest.skip("frr is not installed")
    return topology(request.param)


@pytest.fixture(scope="module")
def job(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("topology") / "paths.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    planned = bare(load_topology(path), clock="virtual")
    speakers = [node.name for node in planned.nodes if node.role in ("router", "route-server")]
    planned = asked(planned, "far", "routes", nodes=speakers)
    planned = asked(planned, "big.a", "kernel")
    for host in ("west", "east"):
        planned = asked(planned, host, "trace", targets=[planned.node("far").address], most=8)
    return dataclasses.replace(planned, duration_ns=10 * S)


@pytest.fixture(scope="module")
def ran(job, tmp_path_factory):
    run = tmp_path_factory.mktemp("paths")
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    return run


def test_every_best_path_is_the_models(ran, data):
    """Paths and communities of all routers: reflectors, route server, bilateral session, prefixes for one."""
    wanted = {
        node: {
            prefix: (route.path, {":".join(map(str, each)) for each in route.communities})
            for prefix, route in table.items()
            if route.session is not None
        }
        for node, table in converged(described(data).values()).items()
    }
    said = {
        node: frrs_best(answer) if isinstance(answer, dict) else birds_best(answer)
        for node, answer in found(ran, "far.routes").items()
    }
    assert said.keys() == wanted.keys()
    for node, table in said.items():
        assert table == wanted[node], node
    # what one originates for two neighbours alone reaches both
    assert [wanted[node]["10.4.0.0/20"][0] for node in ("two.a", "reflected.d")] == [(64504,)] * 2


def birds_best(lines):
    """What a BIRD's answer says of each prefix that it learned by BGP: its path and communities."""
    routes, prefix = {}, ""
    for line in lines:
        network = re.match(r"(\S+/\d+)\s+\S+ \[", line)
        name, _, value = line.strip().partition(": ")
        if network:
            prefix = network[1]
        elif name in ("BGP.as_path", "BGP.as_path:"):
            routes[prefix] = (tuple(map(int, value.split())), set())
        elif name in ("BGP.community", "BGP.large_community"):
            numbers = re.findall(r"\(([\d, ]+)\)", value)
            routes[prefix][1].update(each.replace(" ", "").replace(",", ":") for each in numbers)
    return routes


def frrs_best(table):
    """The same of FRR's answer."""
    routes = {}
    for prefix, paths in table.items():
        for path in paths:
            if path.get("bestpath", {}).get("overall") and not path.get("local"):
                asns = [asn for segment in path["aspath"]["segments"] for asn in segment["list"]]
                kinds = ("community", "largeCommunity")
                communities = {
                    each for kind in kinds for each in path.get(kind, {}).get("string", "").split()
                }
                routes[prefix] = (tuple(asns), communities)
    return routes


def names(job, run, host):
    """The nodes that a host's packets to `far` passed, the destination among them."""
    owner = {
        address.partition("/")[0]: node.name
        for node in job.nodes
        for address in (*(each.address for each in node.interfaces), *node.loopbacks)
    }
    return [owner[hop] for hop, *_ in found(run, f"{host}.trace")[job.node("far").address]]


def test_hot_potato(job, ran):
    """Both ways are equally long for BGP, so each leaves where OSPF gets it out soonest."""
    assert names(job, ran, "west") == ["big.a", "content.p", "far"]
    assert names(job, ran, "east") == ["big.c", "content.q", "content.p", "far"]


def test_two_ways_of_one_cost_are_both_used(job, ran):
    """By hand: a-b-c and a-d-c cost 40 each, one in the first half and one in the second."""
    ways = found(ran, "big.a.kernel")
    b, d = (
        next(i.peer_address for i in job.node("big.a").interfaces if i.peer == name)
        for name in ("big.b", "big.d")
    )
    assert ways[f"{job.node('big.c').address}/32"] == sorted((b, d))
