"""Two plans byte for byte, the demo's and that of everything one may write, and what is true of all plans."""

import dataclasses
import ipaddress
import json
import time
from pathlib import Path

import pytest
from cryptography import x509
from servers import BIRD, bird_refuses

from testbed import model
from testbed.job import NODES, Job, Shape
from testbed.plan import bare, plan
from testbed.plan.addresses import PlanError, Pool, Taken
from testbed.plan.pki import Authority

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"


def planned(**sets):
    loaded = model.load_scenario(ROOT / "scenarios" / "oca-crash.yaml", [f"{k}={v}" for k, v in sets.items()])
    return plan(loaded)


def everything():
    return bare(model.load_topology(GOLDEN / "everything.yaml"))


@pytest.fixture(scope="module")
def job():
    return planned()


def words(shape):
    """What a shape says that others do not."""
    found = {field.name: getattr(shape, field.name) for field in dataclasses.fields(shape)}
    return ", ".join(f"{key} {value}" for key, value in found.items() if value != getattr(Shape(), key))


def described(job):
    """The plan as text: everything but keys, certificates and the sizes of segments."""
    lines = []
    for node in job.nodes:
        own = f"{node.address or '-'} {node.address6 or '-'}{' stp' if node.stp else ''}"
        lines.append(f"{node.name}: {node.role} AS{node.asn} {node.isp or '-'} {own}")
        for i in node.interfaces:
            vlan = f" VLAN {i.vlan}" if i.vlan else ""
            lines.append(
                f"  {i.name} {i.mac} {i.address or '-'} {i.address6 or '-'} mtu {i.mtu}{vlan} to {i.peer}"
            )
            lines.append(f"    {words(i.shape)}")
        lines += [f"  route {route.prefix} via {route.via}" for route in node.routes]
        for process in node.processes:
            told = json.dumps(process.config, sort_keys=True) if process.service else " ".join(process.argv)
            lines.append(f"  runs {process.name}: {process.service} {told} ready {process.ready or '-'}")
        for path, text in sorted(node.files.items()):
            if not path.endswith(".pem"):
                lines.append(f"  file {path}")
                lines += [f"    | {line}" for line in text.splitlines()]
    lines += [f"{link.name} {link.relation or '-'} captured at {link.captured_at}" for link in job.links]
    lines += [str(session) for session in job.sessions]
    lines += [str(fault) for fault in job.faults]
    return "\n".join(lines) + "\n"


def test_the_plan_of_metro_is_the_golden_one(job):
    """If it changed on purpose: python tests/test_plan.py writes the new one; read the difference."""
    assert described(job) == (GOLDEN / "metro.plan").read_text()


def test_the_plan_of_everything_is_the_golden_one():
    assert described(everything()) == (GOLDEN / "everything.plan").read_text()


def test_a_topology_alone_is_a_job_in_which_nothing_happens():
    job = everything()
    assert (job.scenario, job.topology, job.zone, job.clock) == ("everything", "everything", "", "wall")
    assert (job.duration_ns, job.sessions, job.faults, job.checks, job.captures) == (0, (), (), (), ())
    assert Job.loads(job.dumps()) == job
    assert bare(model.load_topology(GOLDEN / "everything.yaml"), seed=2).seed == 2


def test_planning_grows_with_the_network_and_not_with_its_square(tmp_path):
    def cost_s(routers):
        names = [f"r{number}" for number in range(routers)]
        around = [(a, names[(place + step) % routers]) for step in (1, 37) for place, a in enumerate(names)]
        path = tmp_path / "ring.yaml"
        path.write_text(json.dumps({
            "name": "ring", "isps": {"net": {"asn": 64500, "routers": names}},
            "links": [{"endpoints": [f"net.{a}", f"net.{b}"], "delay": "1ms"} for a, b in around],
        }))  # fmt: skip
        started = time.process_time()
        job = bare(model.load_topology(path))
        spent = time.process_time() - started
        assert (len(job.nodes), len(job.links)) == (routers, 2 * routers)
        return spent

    cost_s(80)
    assert cost_s(1000) < 10 * cost_s(250)  # four times as many; the square would be 16


def test_a_job_survives_json(job):
    assert Job.loads(job.dumps()) == job
    assert Job.loads(job.dumps()).dumps() == job.dumps()


def test_the_same_files_and_seed_give_the_same_job(job):
    assert planned().dumps() == job.dumps()
    other = planned(seed=2)
    assert other.nodes[0].interfaces == job.nodes[0].interfaces
    assert other.titles != job.titles


def test_no_two_interfaces_share_an_address_or_a_mac(job):
    interfaces = [interface for node in job.nodes for interface in node.interfaces]
    addresses = [interface.address for interface in interfaces if interface.address]
    assert len(addresses) == len(set(addresses))
    assert len(interfaces) == len({interface.mac for interface in interfaces}) == 2 * len(job.links)


def test_both_ends_of_a_link_are_in_one_subnet(job):
    ends = {}
    for node in job.nodes:
        for interface in node.interfaces:
            if interface.address:
                ends.setdefault(interface.link, set()).add(ipaddress.ip_interface(interface.address).network)
    assert all(len(networks) == 1 for networks in ends.values())


def test_a_client_more_leaves_everybody_elses_address(job):
    more = planned(**{"topology.isps.south.clients.phones.count": 5})
    before = {node.name: node.address for node in job.nodes}
    after = {node.name: node.address for node in more.nodes}
    assert after.pop("south.phones.5")
    assert after == before


def test_oca_sites_follow_from_where_they_stand(job):
    (steering,) = job.node("steering").processes
    sites = steering.config["sites"]
    assert {oca: (site["embedded"], site["cluster"]) for oca, site in sites.items()} == {
        "oca-n1": (True, "north.core"), "oca-s1": (True, "south.core"), "oca-ix1": (False, "cdn.pop"),
    }  # fmt: skip
    # its own router's sessions come first: both ISPs are met at the exchange, transit elsewhere
    assert sites["oca-ix1"]["via"] == {"64501": "exchange", "64502": "exchange", "64510": "transit"}
    assert {site["capacity_bps"] for site in sites.values()} == {10_000_000_000}


def test_a_private_peering_is_one_and_places_are_those_of_populations():
    link = "{endpoints: [north.core, cdn.pop], relation: peer}"
    more = planned(**{"topology.links.6": link, "topology.isps.north.location": "[52.5, 13.4]"})
    (steering,) = more.node("steering").processes
    assert steering.config["sites"]["oca-ix1"]["via"]["64501"] == "pni"
    assert steering.config["sites"]["oca-n1"]["location"] == [52.5, 13.4]
    assert steering.config["places"] == [
        ("10.1.64.0/21", 52.5, 13.4), ("2001:db8:1:1001::/64", 52.5, 13.4)
    ]  # fmt: skip


def test_sessions_start_in_turn(job):
    starts = [session.start_ns // 10**9 for session in job.sessions]
    assert starts == [0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 4, 6]
    assert [session.id for session in job.sessions] == [f"s{number:04d}" for number in range(1, 13)]


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
@pytest.mark.parametrize(("planning", "daemons"), [(planned, 11), (everything, 8)])
def test_bird_accepts_every_configuration(planning, daemons, tmp_path):
    checked = [node for node in planning().nodes if f"{NODES}/{node.name}/bird.conf" in node.files]
    assert len(checked) == daemons
    for node in checked:
        assert bird_refuses(node.files, tmp_path / node.name) == ""


def test_the_authority_signs_what_clients_verify():
    authority = Authority(seed=1, epoch_ns=1_767_225_600 * 10**9)
    ca = x509.load_pem_x509_certificate(authority.certificate.encode())
    pem, key = authority.issue("oca-n1.cdn.example")
    leaf = x509.load_pem_x509_certificate(pem.encode())
    leaf.verify_directly_issued_by(ca)
    assert "BEGIN PRIVATE KEY" in key
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["oca-n1.cdn.example"]
    assert authority.issue("oca-n1.cdn.example") == (pem, key)
    assert dataclasses.replace(authority, seed=2).issue("oca-n1.cdn.example") != (pem, key)


def test_running_out_of_addresses_is_said():
    pool = Pool(ipaddress.IPv4Network("10.0.0.0/30"), 31, "links of north", Taken())
    assert [pool.take(), pool.take()] == [10 << 24, (10 << 24) + 2]
    with pytest.raises(PlanError, match="links of north: more than the 2 that"):
        pool.take()


if __name__ == "__main__":
    (GOLDEN / "metro.plan").write_text(described(planned()))
    (GOLDEN / "everything.plan").write_text(described(everything()))
