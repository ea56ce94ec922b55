"""What tests/test_mininet.py has done in the guest: scripts as people write them for Mininet."""

import contextlib
import functools
import io
import logging
import os
import time
from pathlib import Path

from inside_network import job as small_job
from mininet.link import TCLink
from mininet.log import lg, setLogLevel
from mininet.node import Host, Node
from mininet.nodelib import LinuxBridge
from mininet.topo import LinearTopo, Topo
from mininet.util import dumpNodeConnections, pmonitor

from testbed.emulate.guest import tell
from testbed.emulate.mininet import Mininet
from testbed.emulate.network import Network
from testbed.job import NODES


def run(job):
    setLogLevel("output")
    if job.clock == "wall":
        tell(iperf=iperf())
        return
    linear()
    by_hand()
    routers()
    tell(private=private())
    of_a_network()


def said(what, *arguments):
    """What a function of Mininet's prints."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.terminator = ""
    lg.addHandler(handler)
    try:
        what(*arguments)
    finally:
        lg.removeHandler(handler)
    return text.getvalue()


def programs():
    """How many processes there are besides the kernel's own."""
    return sum(1 for entry in Path("/proc").glob("[0-9]*") if (entry / "cmdline").read_bytes())


def linear():
    before = programs()
    net = Mininet(topo=LinearTopo(k=3), link=functools.partial(TCLink, bw=10, delay="5ms"), autoSetMacs=True)
    net.start()
    h1, h3 = net.get("h1", "h3")
    tell(
        processes=programs() - before,
        connections=said(dumpNodeConnections, net.hosts + net.switches),
        names=[list(net), len(net), "h1" in net, "h9" in net],
        addresses=[(host.IP(), host.MAC(), str(host.defaultIntf())) for host in net.hosts],
        ours=[isinstance(h1, Host), isinstance(net["s1"], LinuxBridge), isinstance(net.links[0], TCLink)],
        ping=h1.cmd("ping -c1", h3.IP()),
        only_one_shell=programs() - before,
        ping_all=net.pingAll(),
        kernel_address=h1.cmd("ip -o -4 addr show h1-eth0"),
        sys=h1.cmd("ls /sys/class/net").split(),
        connected=[(str(a), str(b)) for a, b in net["s1"].connectionsTo(net["s2"])],
        between=[str(link) for link in net.linksBetween(h1, net["s1"])],
        pexec=h1.pexec("echo a b"),
        shell=h1.popen("echo $((1+1))", shell=True).communicate()[0].decode(),
        status=str(net.links[0].status()),
    )
    net.configLinkStatus("s1", "s2", "down")
    down = net.pingAll(timeout="1")
    net.configLinkStatus("s1", "s2", "up")
    tell(down=down, up=net.pingAll(timeout="1"), unknown=said(net.configLinkStatus, "s1", "h9", "down"))

    h1.sendCmd("sleep 1000")
    h1.sendInt()
    interrupted = h1.waitOutput()
    background = h1.cmd("sleep 3600 &")
    tell(interrupted=interrupted, background=background, last=Path(f"/proc/{h1.lastPid}").exists())

    h1.intf().config(bw=1, delay="20ms")
    slower = h1.cmd("ping -c2 -i1", h3.IP())
    h3.setIP("10.0.0.77/8")
    h3.setMAC("02:00:00:00:00:77")
    moved = h1.cmd("ping -c1 -W1 10.0.0.77")
    tell(slower=slower, moved=moved, mac=h3.cmd("ip -o link show h3-eth0"), found=h3.intf().updateAddr())

    h4 = net.addHost("h4")
    link = net.addLink(h4, "s3", bw=10, delay="1ms", loss=0, max_queue_size=20)
    tell(late=h4.cmd("ping -c1 -W1 10.0.0.1"), late_ip=h4.IP())
    net.delLink(link)
    gone = h4.cmd("ip -o link")
    net.delHost(h4)
    tell(gone=gone, deleted="h4" in net, rest=net.pingAll(timeout="1"))

    h1.sendCmd("ping -c2 10.0.0.2")
    lines = []
    for host, line in net.monitor([h1], timeoutms=3000):
        if host is None:
            break
        lines.append(line.strip())
    h1.waiting = False
    popens = {host: host.popen("echo", "from", host.name) for host in net.hosts}
    tell(lines=lines, monitored=sorted(line.strip() for _, line in pmonitor(popens) if line))
    net.stop()
    tell(left=programs() - before)


def by_hand():
    """Hosts, switches and links added one by one, some of them with commands before the start."""
    net = Mininet(switch=functools.partial(LinuxBridge, stp=True), waitConnected=True, autoStaticArp=True)
    h1 = net.addHost("h1", ip="192.168.1.1/24")
    early = h1.cmd("echo early").strip()
    h2 = net.addHost("h2", ip="192.168.1.2/24", mac="00:00:00:00:00:22")
    switches = [net.addSwitch(f"s{number}") for number in (1, 2, 3)]
    controller = net.addController("c0")
    net.addLink(h1, switches[0])
    net.addLink(h2, switches[1], intfName1="wan0", params1={"bw": 5})
    for a, b in ((0, 1), (1, 2), (2, 0)):
        net.addLink(switches[a], switches[b])
    began = time.monotonic()
    net.start()
    tell(
        early=early, controller=controller, tree_s=time.monotonic() - began,
        tree_ping=net.pingAll(timeout="1"),
        wan=h2.cmd("ip -o link show wan0"),
        rates=[shape.rate_bps for link in net.network.job.links[1:2] for shape in (link.a_to_b, link.b_to_a)],
        mac2=h2.MAC(), known=h1.cmd("ip neigh show 192.168.1.2"),
    )  # fmt: skip
    net.stop()


class LinuxRouter(Node):
    """As in Mininet's examples/linuxrouter.py: derived from Mininet's own Node."""

    def config(self, **params):
        super().config(**params)
        self.cmd("sysctl net.ipv4.ip_forward=1")

    def terminate(self):
        self.cmd("sysctl net.ipv4.ip_forward=0")
        super().terminate()


class Routed(Topo):
    def build(self, **_):
        router = self.addNode("r0", cls=LinuxRouter, ip="10.1.0.1/24")
        for number in (1, 2):
            host = self.addHost(f"h{number}", ip=f"10.{number}.0.100/24", defaultRoute=f"via 10.{number}.0.1")
            self.addLink(host, router, intfName2=f"r0-eth{number}", params2={"ip": f"10.{number}.0.1/24"})


def routers():
    net = Mininet(topo=Routed())
    net.start()
    tell(routed=net["h1"].cmd("ping -c1 -W1 10.2.0.100"))
    net.stop()


def private():
    """A folder that only one host sees."""
    net = Mininet(build=False)
    h1 = net.addHost("h1", privateDirs=["/tmp/private"])
    h2 = net.addHost("h2")
    net.addLink(h1, h2)
    net.start()
    h1.cmd("touch /tmp/private/mine")
    seen = [host.pexec("ls /tmp/private")[0].split() for host in (h1, h2)]
    net.stop()
    return seen


def of_a_network():
    """A network of the testbed behind Mininet's face."""
    network = Network(small_job(), Path("/tmp/logs"), Path(NODES))
    network.build()
    before = network.state()
    net = Mininet.of(network)
    h1 = net["h1"]
    tell(
        of_hosts=[host.name for host in net.hosts], of_switches=[switch.name for switch in net.switches],
        of_net=said(dumpNodeConnections, net.values()),
        of_ping=net.ping([h1, net["h2"], net["r"]], timeout="1"),
        of_default=[net["r"].IP(), net["r"].defaultIntf().updateIP(), h1.IP()],
    )  # fmt: skip
    net.configLinkStatus("h1", "r", "down")
    down = net.ping([h1, net["h2"]], timeout="1")
    net.configLinkStatus("r", "h1", "up")
    tell(of_down=down, of_up=h1.cmd("ping -c1 -W1 2001:db8:1::2"))
    net.stop()
    tell(of_restored=network.state() == before)


def iperf():
    net = Mininet(topo=LinearTopo(k=2), link=functools.partial(TCLink, bw=20))
    net.start()
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        measured = [*net.iperf(seconds=2, fmt="m"), *net.iperf(l4Type="UDP", udpBw="5M", seconds=2, fmt="m")]
    net.stop()
    return measured
