"""Whether a BIRD is up is read off its own answers: real ones here, and those of a BIRD that runs."""

import pytest
from servers import BIRD, bird_of

from testbed.daemons import birdc as bird

# `show ospf interface` and `show ospf neighbors` of BIRD 2.0.12, cut to what differs
INTERFACES = """\
ospf4:
Interface eth0 (10.1.0.0/31)
\tType: ptp
\tState: PtP
Interface eth1 (10.1.0.2/31)
\tType: ptp (stub)
\tState: PtP (stub)
Interface eth2 (172.16.0.254/24)
\tType: broadcast
\tState: {lan}
Interface eth3 (10.1.0.4/31)
\tType: ptp
\tState: Down
Interface lo (10.1.48.1/32)
\tType: nbma
\tState: Waiting (stub)
"""
NEIGHBORS = """\
ospf4:
Router ID   \tPri\t     State     \tDTime\tInterface  Router IP
10.1.48.2   \t  1\t{state}/PtP  \t39.404\teth0       10.1.0.1
10.1.48.3   \t  1\tFull/DR   \t39.404\teth2       172.16.0.253

"""


@pytest.mark.parametrize(
    ("lan", "state", "waiting"),
    [
        ("DR", "Full", []),
        ("DROther", "Full", []),
        ("Waiting", "Full", ["eth2"]),
        ("DR", "Exchange", ["eth0"]),
        ("Waiting", "Init", ["eth0", "eth2"]),
    ],
)
def test_links_without_a_neighbour_are_waited_for(lan, state, waiting):
    """A stub has none, and a link that is down has none to wait for."""
    interfaces = INTERFACES.format(lan=lan).splitlines()
    assert bird.unlinked(interfaces, NEIGHBORS.format(state=state).splitlines()) == waiting


def test_a_link_whose_neighbour_was_not_heard_of_yet_is_waited_for():
    assert bird.unlinked(INTERFACES.format(lan="DR").splitlines(), ["ospf4:", ""]) == ["eth0"]


OSPF = """
protocol ospf v2 ospf4 {
  ipv4 { import all; export none; };
  area 0 { interface "lo" { stub yes; }; };
}
"""
BGP = """
protocol bgp bgp1 {
  local 127.0.0.1 as 64501;
  neighbor 127.0.0.2 as 64502;
  ipv4 { import none; export none; };
}
"""


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
@pytest.mark.parametrize(
    ("protocols", "up"), [("", True), (OSPF, True), (BGP, False), (OSPF + BGP, False)]
)  # fmt: skip
def test_a_bird_without_sessions_is_up_when_it_answers(tmp_path, protocols, up):
    assert not bird.established(str(tmp_path / "bird.ctl"))
    configuration = f"router id 10.0.0.1;\nlog stderr all;\nprotocol device {{}}\n{protocols}\n"
    with bird_of(tmp_path, configuration) as control:
        assert bird.answers(control)
        assert bird.established(control) is up


def test_a_session_closed_for_too_many_prefixes_has_come_as_far_as_it_will():
    """Words of BIRD 2.0.12 at both ends."""
    for state, info, done in (
        ("up", "Established", True), ("start", "Connect", False), ("start", "Active", False),
        ("down", "", False),
        ("down", "Error: Route limit exceeded", True),
        ("start", "Idle Received: Maximum number of prefixes reached", True),
    ):  # fmt: skip
        assert bird.come_up(f"loud__a_4 BGP --- {state} 00:00:09.454 {info}".split()) is done
