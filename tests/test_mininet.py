"""Scripts written for Mininet, on our Mininet."""

import dataclasses
import shutil

import inside_network
import pytest

from testbed.emulate import links
from testbed.job import Loss, Shape
from testbed.testing import booted


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"bw": 10}, Shape(rate_bps=10_000_000)),
        ({"bw": 0.5, "delay": "5ms"}, Shape(rate_bps=500_000, delay_ns=5_000_000)),
        ({"delay": "1.5s", "jitter": "3usecs"}, Shape(delay_ns=1_500_000_000, jitter_ns=3_000)),
        ({"delay": 250}, Shape(delay_ns=250_000)),
        ({"loss": 2}, Shape(loss=Loss(parameters=(0.02,)))),
        ({"loss": 0, "max_queue_size": 20}, Shape(queue_packets=20)),
    ],
)
def test_the_parameters_of_tclink_make_a_shape(given, shape):
    assert links.shaped(Shape(), **given) == shape


def test_red_has_tcintfs_figures():
    shape = links.shaped(Shape(), bw=10, enable_ecn=True)
    assert (shape.aqm, shape.ecn, shape.aqm_options["min"]) == ("red", True, 30_000)


def test_a_delay_that_is_no_time_is_refused():
    with pytest.raises(ValueError, match="10ms"):
        links.shaped(Shape(), delay="fast")


def test_stock_classes_become_ours_and_derived_ones_keep_what_they_add():
    import functools

    import mininet.link

    class Own(mininet.link.Link):
        extra = True

    assert links.ours(mininet.link.TCLink, links.Link) is links.Link
    assert links.ours(links.Link, links.Link) is links.Link
    made = links.ours(functools.partial(Own, bw=1), links.Link)
    assert made.keywords == {"bw": 1}
    assert issubclass(made.func, Own)
    assert issubclass(made.func, links.Link)


@pytest.fixture(scope="module")
def said():
    """Everything that tests/inside_mininet.py tells, in one."""
    merged = {}
    for message in booted(inside_network.job(), "inside_mininet", 256 * 2**20):
        merged |= message
    return merged


LINEAR = """\
h1 h1-eth0:s1-eth1
h2 h2-eth0:s2-eth1
h3 h3-eth0:s3-eth1
s1 s1-eth1:h1-eth0 s1-eth2:s2-eth2
s2 s2-eth1:h2-eth0 s2-eth2:s1-eth2 s2-eth3:s3-eth2
s3 s3-eth1:h3-eth0 s3-eth2:s2-eth3
"""


@pytest.mark.guest
class TestLinear:
    def test_no_process_until_a_command_asks_for_one(self, said):
        assert said["processes"] == 0
        assert said["only_one_shell"] == 1
        assert said["left"] == 0

    def test_nodes_links_and_addresses_are_those_of_mininet(self, said):
        assert said["connections"] == LINEAR
        assert said["names"] == [["h1", "h2", "h3", "s1", "s2", "s3"], 6, True, False]
        assert said["addresses"][0] == ["10.0.0.1", "00:00:00:00:00:01", "h1-eth0"]
        assert "10.0.0.1/8" in said["kernel_address"]
        assert said["connected"] == [["s1-eth2", "s2-eth2"]]
        assert said["between"] == ["h1-eth0<->s1-eth1"]
        assert said["status"] == "(OK OK)"
        assert sorted(said["sys"]) == ["h1-eth0", "lo"]
        assert all(said["ours"])

    def test_links_have_their_delay_and_all_hosts_reach_each_other(self, said):
        assert "1 received" in said["ping"]
        assert "time=80." in said["ping"]  # ARP and echo over four links of 5 ms, there and back
        assert said["ping_all"] == 0

    def test_commands_run_on_their_node(self, said):
        assert said["pexec"] == ["a b\n", "", 0]
        assert said["shell"] == "2\n"
        assert said["interrupted"].strip() in ("", "^C")
        assert said["background"] == ""
        assert said["last"]
        assert said["lines"][0].startswith("PING 10.0.0.2")
        assert any("2 received" in line for line in said["lines"])
        assert said["monitored"] == ["from h1", "from h2", "from h3"]

    def test_a_link_goes_down_and_up(self, said):
        assert said["down"] == pytest.approx(100 * 4 / 6)
        assert said["up"] == 0
        assert "h9" in said["unknown"]

    def test_what_runs_is_changed(self, said):
        # three hops of 5 ms and then one of 20, four of 5 ms back; 98 bytes at 1 and seven times 10 Mbit/s
        assert float(said["slower"].partition("mdev = ")[2].split("/")[0]) == pytest.approx(56.333, abs=0.001)
        assert " 0% packet loss" in said["moved"]
        assert "02:00:00:00:00:77" in said["mac"]
        assert said["found"] == ["10.0.0.77", "02:00:00:00:00:77"]

    def test_what_is_added_later_is_there_at_once_and_goes_again(self, said):
        assert said["late_ip"] == "10.0.0.4"
        assert " 0% packet loss" in said["late"]
        assert "h4-eth0" not in said["gone"]
        assert not said["deleted"]
        assert said["rest"] == 0


@pytest.mark.guest
def test_a_network_built_by_hand_with_spanning_trees(said):
    assert said["early"] == "early"
    assert said["controller"] is None
    assert said["tree_s"] >= 30
    assert said["tree_ping"] == 0
    assert "wan0@" in said["wan"]
    assert said["rates"] == [5_000_000, None]
    assert said["mac2"] == "00:00:00:00:00:22"
    assert "00:00:00:00:00:22 PERMANENT" in said["known"]


@pytest.mark.guest
def test_a_router_derived_from_mininets_node_routes(said):
    assert " 0% packet loss" in said["routed"]


@pytest.mark.guest
def test_private_folders_are_seen_by_their_host_alone(said):
    assert said["private"] == [["mine"], []]


@pytest.mark.guest
class TestOfANetwork:
    def test_it_has_mininets_face(self, said):
        assert said["of_hosts"] == ["h1", "r", "h2", "h3"]
        assert said["of_switches"] == ["sw"]
        assert said["of_net"].splitlines()[0] == "h1 h1-eth0:r-eth0"
        assert said["of_default"] == ["10.0.0.1", "10.0.0.1", "10.0.0.0"]
        assert said["of_ping"] == 0

    def test_a_link_that_comes_up_has_all_it_had(self, said):
        assert said["of_down"] == 100
        assert " 0% packet loss" in said["of_up"]
        assert said["of_restored"]


@pytest.mark.guest
@pytest.mark.skipif(shutil.which("iperf") is None, reason="iperf is not installed (apt-get install iperf)")
def test_iperf_measures_a_links_rate():
    job = dataclasses.replace(inside_network.job(), clock="wall")
    (message,) = booted(job, "inside_mininet", 256 * 2**20)
    server, client, asked, udp_server, _ = message["iperf"]
    assert 10 < float(server.split()[0]) < 22  # of 20 Mbit/s; a busy machine may fall short
    assert server.split()[1] == client.split()[1] == "Mbits/sec"
    assert asked == "5M"
    assert 2 < float(udp_server.split()[0]) < 6
