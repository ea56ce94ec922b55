"""What tests/test_network.py has done in the guest: a network is built, looked at and changed."""

import dataclasses
import subprocess
import time
from pathlib import Path

from testbed import namespaces
from testbed.emulate.guest import tell
from testbed.emulate.netlink import NetlinkError
from testbed.emulate.network import Network, NetworkError
from testbed.faults import changes
from testbed.job import NODES, Interface, Job, Link, Node, Route, Shape, Trace

MS = 1_000_000
SHAPE = Shape(rate_bps=100_000_000, delay_ns=5 * MS)


def interface(name, link, number, **given):
    return Interface(name=name, link=link, mac=f"02:00:00:00:00:{number:02x}", shape=SHAPE, **given)


def link(a, a_interface, b, b_interface):
    return Link(
        name=f"{a}--{b}",
        a=a,
        a_interface=a_interface,
        b=b,
        b_interface=b_interface,
        a_to_b=SHAPE,
        b_to_a=SHAPE,
    )


def job():
    """A host behind a router, and a switch with two VLANs; hosts speak both families, but for one."""
    return Job(
        scenario="network", topology="small", seed=7, clock="virtual", duration_ns=0,
        epoch_ns=1_767_225_600 * 10**9, zone="",
        nodes=(
            Node(
                name="h1", role="host",
                interfaces=(interface("eth0", "h1--r", 1, address="10.0.0.0/31", address6="2001:db8::/127"),),
                routes=(Route(prefix="0.0.0.0/0", via="10.0.0.1"), Route(prefix="::/0", via="2001:db8::1")),
            ),
            Node(
                name="r", role="router", forwards=True, loopbacks=("10.255.0.1/32", "2001:db8:f::1/128"),
                interfaces=(
                    interface("eth0", "h1--r", 2, address="10.0.0.1/31", address6="2001:db8::1/127"),
                    interface(
                        "eth1", "r--sw", 3, address="10.0.1.1/24", address6="2001:db8:1::1/64", mtu=1400
                    ),
                ),
            ),
            Node(
                name="sw", role="exchange", bridge=True,
                interfaces=(
                    interface("eth0", "r--sw", 4, vlan=10, mtu=1400),
                    interface("eth1", "h2--sw", 5, vlan=10),
                    interface("eth2", "h3--sw", 6),
                ),
            ),
            Node(
                name="h2", role="host",
                interfaces=(
                    interface("eth0", "h2--sw", 7, address="10.0.1.2/24", address6="2001:db8:1::2/64"),
                ),
                routes=(Route(prefix="0.0.0.0/0", via="10.0.1.1"), Route(prefix="::/0", via="2001:db8:1::1")),
            ),
            Node(
                name="h3", role="host", interfaces=(interface("eth0", "h3--sw", 8, address="10.0.1.3/24"),)
            ),
        ),
        links=(
            link("h1", "eth0", "r", "eth0"), link("r", "eth1", "sw", "eth0"),
            link("h2", "eth0", "sw", "eth1"), link("h3", "eth0", "sw", "eth2"),
        ),
    )  # fmt: skip


def ring_of_switches():
    """Three switches that would carry a broadcast round for ever, and a host on two of them."""
    names = ("s1", "s2", "s3")
    links = [("s1", "s2"), ("s2", "s3"), ("s1", "s3"), ("h1", "s1"), ("h2", "s2")]
    ends = {name: [] for name in (*names, "h1", "h2")}
    wires = []
    for number, pair in enumerate(links):
        places = [f"eth{len(ends[name])}" for name in pair]
        for name, place in zip(pair, places, strict=True):
            ends[name].append(
                interface(
                    place, "--".join(pair), 16 * number + len(ends[name]) + ord(name[-1]),
                    address=f"10.0.0.{name[-1]}/24" if name[0] == "h" else "",
                )
            )  # fmt: skip
        wires.append(link(pair[0], places[0], pair[1], places[1]))
    nodes = [
        Node(name=name, role="x", bridge=name in names, stp=name in names, interfaces=tuple(own))
        for name, own in ends.items()
    ]
    return dataclasses.replace(job(), nodes=tuple(nodes), links=tuple(wires))


class Lab:
    """A built network, and programs on its nodes."""

    def __init__(self, which):
        self.net = Network(which, Path("/tmp/logs"), Path(NODES))
        self.net.build()

    def run(self, node, command):
        with namespaces.inside(self.net.namespace(node)):
            done = subprocess.run(
                command.split(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        return done.stdout + done.stderr

    def pings(self, node, where, *options):
        return " 0% packet loss" in self.run(node, " ".join(["ping -c1 -W1", *options, where]))


def run(_):
    lab = Lab(job())
    net = lab.net
    tell(
        reach={
            "first, at once": lab.pings("h1", "2001:db8:1::2"),
            "IPv4": lab.pings("h1", "10.0.1.2"),
            "loopback": lab.pings("h2", "10.255.0.1"),
            "loopback of IPv6": lab.pings("h2", "2001:db8:f::1"),
            "another VLAN": lab.pings("r", "10.0.1.3"),
        },
        addresses={node: lab.run(node, "ip -o addr show scope link") for node in ("h1", "h3", "sw")},
        counters=lab.run("h1", "grep -e ^Icmp6OutRouterSolicits -e ^Icmp6OutMLDv2 /proc/net/snmp6"),
        offload=lab.run("h1", "ethtool -k eth0"),
        settings={
            name: lab.run("r", f"cat /proc/sys/net/{name}").strip()
            for name in (
                "ipv4/ip_forward", "ipv6/conf/eth1/forwarding", "ipv6/conf/eth1/accept_ra",
                "ipv6/conf/eth1/accept_dad", "ipv4/conf/eth1/rp_filter", "ipv4/conf/eth1/arp_ignore",
            )
        },
        host_forwards=lab.run(
            "h1", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"
        ),
        vlans=lab.run("sw", "bridge vlan show"),
        mtu=lab.run("r", "ip -o link show eth1"),
        too_big=lab.run("h1", "ping -c2 -W1 -M do -s 1400 10.0.1.2"),
        too_big6=lab.run("h1", "ping -c2 -W1 -M do -s 1400 2001:db8:1::2"),
        inherits=Path("/proc/sys/net/core/devconf_inherit_init_net").read_text().strip(),
    )  # fmt: skip
    before = net.state()
    with net.down("r--h1"):
        during = {"state": net.state(), "reach": lab.pings("h1", "10.0.1.2")}
        with net.down("h1--r"):
            pass
        still = lab.pings("h1", "10.0.1.2")
    tell(
        down=during["state"]["h1"], down_reach=during["reach"], inner_end_brings_up=still,
        restored=changes(before, net.state()),
        after={"IPv4": lab.pings("h1", "10.0.1.2"), "IPv6": lab.pings("h1", "2001:db8:1::2")},
        up=before["h1"],
    )  # fmt: skip
    with net.shaped("h1--r", delay_ns=50 * MS):
        slow = lab.run("h1", "ping -c3 -i0.5 10.0.0.1")
    tell(slow=slow, shape_restored=changes(before, net.state()))
    smaller = dataclasses.replace(
        net.job,
        nodes=tuple(
            dataclasses.replace(n, interfaces=n.interfaces[:2]) for n in net.job.nodes if n.name != "h3"
        ),
        links=net.job.links[:3],
    )
    net.become(smaller)
    tell(without_h3=lab.run("sw", "ip -o link"), rest_runs=lab.pings("h1", "2001:db8:1::2"))
    net.become(job())
    tell(again=lab.pings("h2", "10.0.1.3"), back=lab.run("h3", "ip -o addr show eth0"))
    try:
        net.socket("h1").ask(*(broken(net)))
    except NetlinkError as refused:
        tell(refused=str(refused), later_done="10.9.9.9" in lab.run("h1", "ip addr"))
    net.close()
    trees()
    traces()
    otherwise()


def broken(net):
    """Three requests, of which the kernel refuses the second."""
    from testbed.emulate import rtnetlink

    index = net.index("h1", "eth0")
    return [
        rtnetlink.up(index),
        rtnetlink.route("10.7.0.0/16", "10.66.66.66"),
        rtnetlink.address(index, "10.9.9.9/32"),
    ]


def trees():
    began = time.monotonic()
    lab = Lab(ring_of_switches())
    early = lab.pings("h1", "10.0.0.2")
    lab.net.await_trees()
    tell(
        tree_s=time.monotonic() - began,
        early=early,
        late=lab.pings("h1", "10.0.0.2", "-c3"),
        states=[line for node in ("s1", "s2", "s3") for line in lab.run(node, "bridge link").splitlines()],
    )
    lab.net.close()


def otherwise():
    """The kernel is asked for another rate than the job has."""

    class Deaf(Network):
        def _shaping(self, index, shape, seed=None):
            return super()._shaping(index, dataclasses.replace(shape, rate_bps=shape.rate_bps // 2), seed)

    net = Deaf(job(), Path("/tmp/logs"), Path(NODES))
    try:
        net.build()
    except NetworkError as error:
        tell(otherwise=str(error))


def traces():
    """A link that may send once a second, 250 ms after each second of the trace's own time."""
    slow = dataclasses.replace(SHAPE, rate_bps=None, trace="slow")
    first = job().nodes[0]
    ends = (dataclasses.replace(first.interfaces[0], shape=slow),)
    which = dataclasses.replace(
        job(),
        nodes=(dataclasses.replace(first, interfaces=ends), *job().nodes[1:]),
        links=(dataclasses.replace(job().links[0], a_to_b=slow), *job().links[1:]),
        traces={"slow": Trace(period_ns=1000 * MS, times_ns=(250 * MS,))},
    )
    lab = Lab(which)
    start = (time.time_ns() // (1000 * MS) + 2) * 1000 * MS + 400 * MS
    lab.net.start_traces(start)
    time.sleep(3)
    came = []
    for _ in range(3):
        assert lab.pings("h1", "10.0.0.1", "-W9")
        came.append((time.time_ns() - start) % (1000 * MS))
    with lab.net.shaped("h1--r", "forward", trace=None, rate_bps=100_000_000):
        began = time.monotonic()
        assert lab.pings("h1", "10.0.0.1")
        free_s = time.monotonic() - began
    lab.pings("h1", "10.0.0.1", "-W9")
    tell(trace_ns=came, without_trace_s=free_s, trace_again_ns=(time.time_ns() - start) % (1000 * MS))
    lab.net.close()
