"""A description becomes FRR's configurations; real daemons take them, and become what another one says."""

import dataclasses
import difflib
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import installed
from test_daemons import BROTHER, CUSTOMER, ROUTING, S
from test_plan import GOLDEN, planned

from testbed import configurations, failures, model
from testbed.daemons import frr, frr_lines, vty
from testbed.daemons.frr import Frr
from testbed.plan import bare
from testbed.routing import EVERYTHING, NOTHING, Change, Maximum, Timers

BGPD = "/usr/lib/frr/bgpd"
needs_frr = pytest.mark.skipif(not installed(Frr), reason="frr is not installed")

ROUTE_MAPS = """\
! from south.a (customer)
bgp community-list expanded from_south__a_4.off seq 1 permit _64501:[0-9]+_
bgp large-community-list expanded from_south__a_4.off seq 1 permit _64501:1:[0-9]+_
! nobody's
bgp community-list standard from_south__a_4.10 seq 1 permit 65535:666
bgp large-community-list expanded from_south__a_4.10 seq 1 permit _64501:1:[0-9]+_
route-map from_south__a_4 deny 10
 match community from_south__a_4.10
route-map from_south__a_4 deny 20
 match large-community from_south__a_4.10
! its own
ip prefix-list from_south__a_4.30 seq 1 permit 10.2.0.0/16 le 24
route-map from_south__a_4 permit 30
 match ip address prefix-list from_south__a_4.30
 set comm-list from_south__a_4.off delete
 set large-comm-list from_south__a_4.off delete
 set local-preference 300
 set community 64501:7 additive
 set large-community 64501:1:1 additive
 set tag 4
! to south.a (customer)
! ours
route-map to_south__a_4 permit 10
 match tag 1
 set metric 20
 set as-path prepend 64501 64501
route-map to_south__a_4 permit 20
 match tag 2
 set metric 20
 set as-path prepend 64501 64501
route-map to_south__a_4 permit 30
 match tag 3
 set metric 20
 set as-path prepend 64501 64501
! heard
bgp large-community-list standard to_south__a_4.40 seq 1 permit 64501:1:1
route-map to_south__a_4 permit 40
 match tag 4
 match large-community to_south__a_4.40
 set metric 20
 set as-path prepend 64501 64501
"""


def texts(routing=ROUTING):
    """The configurations by the process that reads them."""
    return {Path(path).stem: text for path, text in Frr("/n").files(routing).items()}


def lines(text, *below):
    """The lines of a configuration that belong to one, and those to one of them."""
    tree = frr_lines.parse(text)
    for line in below:
        tree = tree[line]
    return list(tree)


def test_a_policy_is_a_route_map_that_says_why():
    assert ROUTE_MAPS in texts()["bgpd"]


def test_a_session_says_all_that_it_was_told():
    text = texts()["bgpd"]
    said = [line for line in lines(text, "router bgp 64501") if line.startswith("neighbor 127.0.0.2 ")]
    assert [line.removeprefix("neighbor 127.0.0.2 ") for line in said] == [
        "remote-as 64502", "description south.a (customer)", "update-source 127.0.0.1", "timers 3 9",
        "timers connect 5", "graceful-restart", "bfd", "bfd profile 3x300ms", "ttl-security hops 1",
    ]  # fmt: skip
    assert lines(text, "router bgp 64501", "address-family ipv6 unicast")[-5:] == [
        "neighbor 2001:db8::2 activate", "neighbor 2001:db8::2 route-map from_north__b_6 in",
        "neighbor 2001:db8::2 route-map to_north__b_6 out", "neighbor 2001:db8::2 next-hop-self",
        "neighbor 2001:db8::2 route-reflector-client",
    ]  # fmt: skip


AGAIN = Maximum(prefixes=2, action="restart", again_ns=60 * S)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"shut": True}, "shutdown"),
        ({"timers": Timers(advertisement_ns=30 * S)}, "advertisement-interval 30"),
        ({"timers": Timers(hold_ns=90 * S)}, "timers 30 90"),
        ({"maximum": Maximum(prefixes=2, action="warn")}, "maximum-prefix 2 warning-only force"),
        ({"maximum": AGAIN}, "maximum-prefix 2 restart 1 force"),
        ({"server_client": True}, "route-server-client"),
    ],
)  # fmt: skip
def test_what_else_a_session_may_be_told(change, line):
    session = dataclasses.replace(CUSTOMER, **change)
    text = texts(dataclasses.replace(ROUTING, sessions=(session,)))["bgpd"]
    assert f"neighbor 127.0.0.2 {line}\n" in text
    assert f"neighbor 127.0.0.2 {line}\n" not in texts()["bgpd"]


def test_inside_an_as_one_tries_again_soon():
    """Who connects before OSPF knows the way would wait two minutes."""
    assert "neighbor 2001:db8::2 timers connect 10\n" in texts()["bgpd"]


def test_what_is_for_one_neighbour_is_not_dropped_by_the_kernel():
    assert "network 10.1.4.0/24 route-map aside\n" in texts()["bgpd"]
    dropped = ["ip route 10.1.0.0/18 blackhole", "ipv6 route 2001:db8:1::/52 blackhole"]
    assert lines(texts()["staticd"])[2:] == dropped


def test_ospf_has_interfaces_by_family():
    ospfd, ospf6d = texts()["ospfd"], texts()["ospf6d"]
    assert lines(ospfd, "interface eth0") == [
        "ip ospf area 0", "ip ospf cost 10", "ip ospf network point-to-point", "ip ospf hello-interval 1",
        "ip ospf dead-interval 4", "ip ospf bfd", "ip ospf bfd profile 3x50ms",
    ]  # fmt: skip
    assert "ip ospf network point-to-point" not in lines(ospfd, "interface eth1")
    assert "interface eth2" not in lines(ospfd)
    assert "interface eth1" not in lines(ospf6d)
    assert "ipv6 ospf6 passive" in lines(ospf6d, "interface eth2")
    assert lines(ospf6d, "interface lo") == ["ipv6 ospf6 area 0", "ipv6 ospf6 cost 1", "ipv6 ospf6 passive"]


def test_what_nobody_asks_for_does_not_run():
    alone = dataclasses.replace(CUSTOMER, bfd=None)
    plain = dataclasses.replace(ROUTING, igp=None, sessions=(alone,))
    assert [process.name for process in Frr("/n").processes(plain)] == ["zebra", "staticd", "bgpd"]
    server = dataclasses.replace(plain, forwards=False)
    *_, last = Frr("/n").processes(server)
    assert "--no_kernel" in last.argv
    everyone = [process.name for process in Frr("/n").processes(ROUTING)]
    assert everyone == ["zebra", "staticd", "bfdd", "ospfd", "ospf6d", "bgpd"]


# of FRR 8.4.4; an interface that has not come up is not there yet
STATES = {"eth0": "Point-To-Point", "eth1": "Waiting", "eth2": "Waiting", "lo": "Loopback"}
TOLD = {"interface eth0": {}, "interface eth1": {}} | {
    f"interface {name}": {"ip ospf passive": {}} for name in ("eth2", "lo")
}


@pytest.mark.parametrize(
    ("states", "full", "waiting"),
    [
        ({}, set(), ["eth0", "eth1"]),
        (STATES, set(), ["eth0", "eth1"]),
        (STATES, {"eth0"}, ["eth1"]),
        (STATES, {"eth0", "eth1"}, []),
        (STATES | {"eth1": "DROther"}, {"eth0"}, []),
        (STATES | {"eth0": "PointToPoint", "eth1": "BDR"}, set(), ["eth0"]),
    ],
)
def test_links_without_a_neighbour_are_waited_for(states, full, waiting):
    assert frr.unlinked(TOLD, states, full) == waiting


def test_lines_are_taken_back_and_typed():
    head, route_map = "a\nrouter bgp 1\n b\n", "route-map m permit 10\n"
    before = f"{head} no c\n address-family x\n  d\n{route_map} s\n t\n"
    after = f"! why\n{head} address-family x\n  e\n{route_map} t\n s\nroute-map n deny 10\n"
    assert frr_lines.commands(before, before) == []
    assert frr_lines.commands(before, after) == [
        "no route-map m permit 10",
        "router bgp 1", "c", "address-family x", "no d", "e", "exit-address-family", "exit",
        "route-map m permit 10", "t", "s", "exit",
        "route-map n deny 10", "exit",
    ]  # fmt: skip


@pytest.fixture(params=["metro", "everything"])
def job(request, tmp_path):
    """A plan with FRR on all routers and route servers."""
    if request.param == "metro":
        return planned(**{"topology.defaults.daemon": "frr"})
    path = tmp_path / "everything.yaml"
    text = (GOLDEN / "everything.yaml").read_text()
    text = re.sub(r"^ +rov:.*\n", "", text, flags=re.MULTILINE)
    path.write_text(text.replace("defaults:\n", "defaults:\n  daemon: frr\n", 1))
    return bare(model.load_topology(path))


@needs_frr
def test_frr_takes_every_configuration(job):
    kinds = [configurations.daemon_of(node) for node in job.nodes]
    assert kinds.count(Frr) >= 5
    configurations.check(job)


@needs_frr
def test_what_frr_does_not_know_is_refused_by_name(job):
    nodes = []
    for node in job.nodes:
        path = next((path for path in node.files if path.endswith("bgpd.conf")), "")
        files = {path: node.files[path].replace(" update-source ", " updated-source ", 1)} if path else {}
        nodes.append(dataclasses.replace(node, files=node.files | files))
    wrong = dataclasses.replace(job, nodes=tuple(nodes))
    with pytest.raises(configurations.Misconfigured) as caught:
        configurations.check(wrong)
    assert failures.exit_code(caught.value) == failures.REFUSED
    first, *_ = str(caught.value).splitlines()
    assert re.match(r"\S+: bgpd.conf: line \d+: % Unknown command.*updated-source", first)


@contextmanager
def bgpd(folder, routing):
    """A bgpd that has started, without zebra and without listening to anybody."""
    folder.mkdir()
    daemon = Frr(str(folder))
    path = folder / "bgpd.conf"
    path.write_text(daemon.files(routing)[str(path)])
    options = (
        "--skip_runas",
        "--no_zebra",
        "-p",
        "0",
        "-P",
        "0",
        "--vty_socket",
        folder,
        "-i",
        folder / "pid",
    )
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            (BGPD, *options, "-f", path, "--log", "stdout"), stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while not vty.answers(f"{folder}/bgpd.vty"):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.02)
            yield daemon, f"{folder}/bgpd.vty"
        finally:
            process.terminate()


def told(socket):
    return vty.ask(socket, "show running-config").splitlines()


@needs_frr
def test_bgpd_knows_all_that_it_is_told(tmp_path):
    """Its shell checks the words; what stands in the running configuration it has understood."""
    with bgpd(tmp_path / "a", ROUTING) as (_, socket):
        running = frr_lines.parse("\n".join(told(socket)))
    written = frr_lines.parse(texts()["bgpd"])
    assert not (tmp_path / "a" / "log").read_text().count("No such command")
    # everything passes: what has no line of its own
    missing = {*written} - {*running} - {line for line in written if line.startswith("hostname")}
    assert {line for line in missing if "65535:666" not in line} == set()
    for line in ("router bgp 64501", *(line for line in written if line.startswith("route-map "))):
        assert {*written[line]} <= {*running[line]} | {"no bgp default ipv4-unicast"}, line


STEERED = dataclasses.replace(
    CUSTOMER, more=("10.1.8.0/24",),
    sends=dataclasses.replace(CUSTOMER.sends, change=Change(med=5, add=((64501, 9), (1, 2, 3)))).aside(),
)  # fmt: skip
OTHERS = {
    "closed": {"sessions": (dataclasses.replace(CUSTOMER, shut=True), BROTHER)},
    "hijacks": {"originates": (*ROUTING.originates, "10.9.0.0/24")},
    "withdraws": {"originates": ROUTING.originates[1:]},
    "silent": {"sessions": (dataclasses.replace(CUSTOMER, sends=NOTHING, more=()), BROTHER)},
    "leaks": {"sessions": (dataclasses.replace(CUSTOMER, sends=EVERYTHING), BROTHER)},
    "steers": {"sessions": (STEERED, BROTHER)},
}


@needs_frr
def test_a_bgpd_becomes_what_another_description_says(tmp_path):
    """It has then the configuration of one that was started with it; and that which it had, afterwards."""
    with bgpd(tmp_path / "a", ROUTING) as (daemon, socket):
        assert daemon.answers()
        assert not daemon.settled()
        before = told(socket)
        for name, change in OTHERS.items():
            other = dataclasses.replace(ROUTING, **change)
            with bgpd(tmp_path / name, other) as (_, fresh):
                daemon.become(other)
                assert [*difflib.unified_diff(told(fresh), told(socket), n=0)] == [], name
            daemon.become(ROUTING)
            assert told(socket) == before, name
        with pytest.raises(vty.FrrError, match="nonsense"):
            daemon.become(dataclasses.replace(ROUTING, originates=("nonsense",)))
    assert not vty.answers(socket)
