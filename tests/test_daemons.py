"""A description becomes a daemon's configuration, and the daemon takes it; what it does can be changed."""

import dataclasses

import pytest
from servers import BIRD, bird_of, bird_refuses

from testbed import registry
from testbed.daemons import birdc
from testbed.daemons.bird import Bird
from testbed.routing import (
    EVERYTHING,
    LEARNED,
    OWN,
    Bfd,
    Change,
    GracefulRestart,
    Igp,
    IgpLink,
    Maximum,
    Policy,
    Routing,
    Rule,
    Session,
    Span,
    Timers,
)

S, MS = 1_000_000_000, 1_000_000

IMPORT = Policy(
    rules=(
        Rule(why="nobody's", permit=False, communities=((65535, 666), (64501, 1, None))),
        Rule(why="its own", prefixes=(Span(prefix="10.2.0.0/16", least=16, most=24),)),
    ),
    change=Change(remove=((64501, None), (64501, 1, None)), add=((64501, 7), (64501, 1, 1)), preference=300),
)
EXPORT = Policy(
    rules=(
        Rule(why="ours", sources=OWN),
        Rule(why="heard", sources=(LEARNED,), communities=((64501, 1, 1),)),
    ),
    change=Change(med=20, prepend=2),
)
CUSTOMER = Session(
    name="south__a_4", neighbor="south.a", relation="customer", family=4, asn=64502, address="127.0.0.2",
    local_address="127.0.0.1", interface="lo", takes=IMPORT, sends=EXPORT, more=("10.1.4.0/24",),
    maximum=Maximum(prefixes=10), timers=Timers(hold_ns=9 * S, keepalive_ns=3 * S, connect_retry_ns=5 * S),
    graceful_restart=GracefulRestart(time_ns=60 * S, long_lived_ns=600 * S),
    bfd=Bfd(interval_ns=300 * MS, multiplier=3), ttl_security=True,
)  # fmt: skip
BROTHER = Session(
    name="north__b_6", neighbor="north.b", relation="internal", family=6, asn=64501,
    address="2001:db8::2", local_address="2001:db8::1", takes=EVERYTHING, sends=EVERYTHING,
    next_hop_self=True, reflector_client=True,
)  # fmt: skip
ROUTING = Routing(
    node="north.a", role="router", asn=64501, router_id="10.1.48.1", families=(4, 6), multipath=4,
    originates=("10.1.0.0/18", "2001:db8:1::/52"), connects=("10.1.64.0/24", "2001:db8:1:4::/64"),
    cluster_id="10.1.48.1", sessions=(CUSTOMER, BROTHER),
    igp=Igp(
        links=(
            IgpLink(interface="eth0", kind="point-to-point", cost=10, families=(4, 6),
                    bfd=Bfd(interval_ns=50 * MS, multiplier=3)),
            IgpLink(interface="eth1", kind="broadcast", cost=1, families=(4,)),
            IgpLink(interface="eth2", kind="stub", cost=1, families=(6,)),
        ),
        loopbacks=("10.1.48.1/32", "2001:db8:1::30:1/128"), hello_ns=S, dead_ns=4 * S,
    ),
)  # fmt: skip


def block(text, start):
    """The lines of a configuration from the one that starts so to the brace that closes it."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(start))
    return [line.strip() for line in lines[at + 1 : lines.index("}", at)]]


@pytest.fixture
def text():
    return Bird("/n").files(ROUTING)["/n/bird.conf"]


def test_a_policy_is_a_filter_that_says_why(text):
    assert block(text, "filter from_customer ") == [
        "# nobody's",
        "if bgp_community ~ [(65535, 666)] || bgp_large_community ~ [(64501, 1, *)] then reject;",
        "# its own",
        "if net ~ [10.2.0.0/16{16,24}] then {",
        "bgp_community.delete([(64501, *)]);",
        "bgp_large_community.delete([(64501, 1, *)]);",
        "bgp_local_pref = 300;",
        "bgp_community.add((64501, 7));",
        "bgp_large_community.add((64501, 1, 1));",
        "accept;",
        "}",
        "reject;",
    ]
    assert block(text, "filter to_customer ")[:8] == [
        "# ours",
        "if originated() || connected() || inside() then {",
        "bgp_med = 20;",
        "bgp_path.prepend(64501);",
        "bgp_path.prepend(64501);",
        "accept;",
        "}",
        "# heard",
    ]


def test_a_lan_is_announced_though_it_is_connected(text):
    """Its route is the interface's, or OSPF's at the AS's other routers, and never the static one."""
    (line,) = (line for line in text.splitlines() if line.startswith("function connected()"))
    assert "(net.type = NET_IP4 && source ~ [RTS_DEVICE, RTS_OSPF] && net ~ [10.1.64.0/24])" in line
    assert "net ~ [2001:db8:1:4::/64]" in line


def test_a_session_says_all_that_it_was_told(text):
    assert block(text, "protocol bgp south__a_4 ") == [
        "local 127.0.0.1 as 64501;", "neighbor 127.0.0.2 as 64502;", "ttl security yes;",
        "bfd { interval 300 ms; multiplier 3; };",
        "hold time 9;", "keepalive time 3;", "connect retry time 5;",
        "graceful restart yes;", "graceful restart time 60;", "long lived graceful restart yes;",
        "long lived stale time 600;",
        "ipv4 { import filter from_customer; export filter to_customer; receive limit 10 action disable; };",
    ]  # fmt: skip
    assert block(text, "protocol bgp north__b_6 ")[2:] == [
        "rr client;", "rr cluster id 10.1.48.1;", "ipv6 { import all; export all; next hop self ebgp; };",
    ]  # fmt: skip


def test_what_is_for_one_neighbour_stays_out_of_the_kernel(text):
    assert block(text, "protocol static aside4 ") == ["ipv4;", "route 10.1.4.0/24 blackhole;"]
    assert text.count('export where source != RTS_DEVICE && ! (proto ~ "aside?");') == 2


@pytest.mark.parametrize("version", [4, 6])
def test_ospf_has_interfaces_by_family(text, version):
    lines = block(text, f"protocol ospf v{version // 2} ")
    bfd = {4: "broadcast", 6: "stub"}[version]
    assert 'interface "eth0" { type ptp; hello 1; dead 4; cost 10; bfd yes; };' in lines
    assert any(bfd in line for line in lines)
    assert ('interface "lo" { stub yes; };' in lines) == (version == 4)
    assert ("stubnet 2001:db8:1::30:1/128 { cost 0; };" in lines) == (version == 6)


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_bird_takes_all_of_its_words(tmp_path):
    assert bird_refuses(Bird(str(tmp_path)).files(ROUTING), tmp_path) == ""


def test_every_daemon_names_its_programs():
    for kind, daemon in registry.kinds("daemons").items():
        assert daemon.programs, kind


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_a_bird_becomes_what_another_description_says(tmp_path):
    """A BIRD that is told of nothing that is not the tests' to touch: kernel, neighbours, interfaces."""
    daemon = Bird(str(tmp_path))
    alone = dataclasses.replace(ROUTING, forwards=False, igp=None, connects=(), sessions=())
    with bird_of(tmp_path, daemon.files(alone)[f"{tmp_path}/bird.conf"]) as socket:

        def known():
            return {line.split()[0] for line in birdc.ask(socket, "show route") if "originated" in line}

        assert daemon.answers()
        assert known() == {*alone.originates}
        daemon.become(dataclasses.replace(alone, originates=("10.1.0.0/18", "10.9.0.0/24")))
        assert known() == {"10.1.0.0/18", "10.9.0.0/24"}
        daemon.become(alone)
        assert known() == {*alone.originates}
        with pytest.raises(birdc.BirdError, match="rror"):
            daemon.become(dataclasses.replace(alone, originates=("nonsense",)))
    assert not daemon.answers()


def test_a_session_is_kept_down(text):
    assert "disabled yes;" not in block(text, "protocol bgp south__a_4 ")
    down = dataclasses.replace(ROUTING, sessions=(dataclasses.replace(CUSTOMER, shut=True), BROTHER))
    text = Bird("/n").files(down)["/n/bird.conf"]
    assert "disabled yes;" in block(text, "protocol bgp south__a_4 ")


def test_a_session_that_opens_again_waits_as_long_as_is_written():
    session = dataclasses.replace(CUSTOMER, maximum=Maximum(prefixes=2, action="restart", again_ns=20 * S))
    text = Bird("/n").files(dataclasses.replace(ROUTING, sessions=(session,)))["/n/bird.conf"]
    lines = block(text, "protocol bgp south__a_4 ")
    assert "error wait time 20, 20;" in lines
    assert "receive limit 2 action restart;" in lines[-1]
