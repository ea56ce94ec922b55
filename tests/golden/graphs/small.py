#!/usr/bin/env python3
"""small, written by 'testbed graph' for stock Mininet: sudo python3 FILE

Takes Mininet, brctl (bridge-utils) and iproute2. Routes are static, those with the fewest hops; there is no
routing daemon.
"""

from ipaddress import ip_interface
from subprocess import PIPE

from mininet.cli import CLI
from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo


class Router(Node):
    """A node that forwards."""

    def config(self, **params):
        """Turn forwarding on."""
        super().config(**params)
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.cmd(f"sysctl -w {setting}=1")


class Small(Topo):
    """The nodes and links of small."""

    def build(self):
        """Add them all."""
        self.addHost('north_core', testbed='north.core', role='router', asn=64501, lo_addresses=['10.1.48.1/32', '2001:db8:1::a01:3001/128'], cls=Router, ip=None)
        self.addHost('north_edge', testbed='north.edge', role='router', asn=64501, lo_addresses=['10.1.48.2/32', '2001:db8:1::a01:3002/128'], cls=Router, ip=None)
        self.addHost('south_a', testbed='south.a', role='router', asn=64502, lo_addresses=['10.2.48.1/32', '2001:db8:2::a02:3001/128'], cls=Router, ip=None)
        self.addSwitch('lan', testbed='lan', dpid='4')
        self.addHost('h1', testbed='h1', ip=None)
        self.addHost('h2', testbed='h2', ip=None)
        self.addHost('h3', testbed='h3', ip=None)
        self.addHost('h4', testbed='h4', ip=None)

        self.addLink('h1', 'lan', bw=100, delay='1ms', intfName1='eth0', params1={'ip': '172.16.0.1/22', 'ip6': '2001:db8:a001::ac10:1/64'})
        self.addLink('h2', 'lan', bw=10, delay='2ms', jitter='500us', loss=0.1, max_queue_size=50, intfName1='eth0', params1={'ip': '172.16.0.2/22', 'ip6': '2001:db8:a001::ac10:2/64'})
        self.addLink('h3', 'north_core', intfName1='eth0', params1={'ip': '10.1.40.1/31', 'ip6': '2001:db8:1::a01:2801/127'}, intfName2='host1', params2={'ip': '10.1.40.0/31', 'ip6': '2001:db8:1::a01:2800/127'})
        self.addLink('h4', 'south_a', bw=50, delay='3ms', intfName1='eth0', params1={'ip': '10.2.40.1/31', 'ip6': '2001:db8:2::a02:2801/127'}, intfName2='host1', params2={'ip': '10.2.40.0/31', 'ip6': '2001:db8:2::a02:2800/127'})
        self.addLink('north_core', 'north_edge', bw=1000, delay='2.5ms', intfName1='eth0', params1={'ip': '10.1.0.0/31', 'ip6': '2001:db8:1::a01:0/127'}, intfName2='eth0', params2={'ip': '10.1.0.1/31', 'ip6': '2001:db8:1::a01:1/127'})
        self.addLink('north_edge', 'lan', bw=1000, intfName1='eth1', params1={'ip': '172.16.3.254/22', 'ip6': '2001:db8:a001::ac10:3fe/64'})
        self.addLink('north_core', 'south_a', relation='provider', delay='5ms', intfName1='eth1', params1={'ip': '10.1.0.2/31', 'ip6': '2001:db8:1::a01:2/127', 'bw': 200}, intfName2='eth0', params2={'ip': '10.1.0.3/31', 'ip6': '2001:db8:1::a01:3/127', 'bw': 20})


def addresses(node):
    """Every address of a node, those on lo too."""
    found = list(node.params.get("lo_addresses", ()))
    for port in node.intfList():
        found += [port.params[key] for key in ("ip", "ip6") if port.params.get(key)]
    return [ip_interface(address) for address in found]


def route(net):
    """Set the addresses that Mininet does not, and static routes to every network."""
    nodes = [node for node in net.hosts if addresses(node)]
    there = {}
    for node in nodes:
        for address in addresses(node):
            there.setdefault(address.network, []).append((node, address.ip))
    for node in nodes:
        lines = [f"address add {address} dev lo" for address in node.params.get("lo_addresses", ())]
        for port in node.intfList():
            if port.params.get("ip6"):
                lines.append(f"address add {port.params['ip6']} dev {port} nodad")
        for version in (4, 6):
            lines += routes(node, there, version)
        ip = node.popen(["ip", "-batch", "-"], stdin=PIPE)
        ip.communicate("\n".join(lines).encode())


def routes(start, there, version):
    """The way from a node to every network of one family, by the fewest hops."""
    via, seen, waiting, lines = {start: None}, set(), [start], []
    while waiting:
        node = waiting.pop(0)
        for network in (address.network for address in addresses(node) if address.version == version):
            if network in seen:
                continue
            seen.add(network)
            if via[node]:
                lines.append(f"route replace {network} via {via[node]}")
            for other, address in there[network]:
                if other not in via:
                    via[other] = via[node] or address
                    if isinstance(other, Router):
                        waiting.append(other)
    return lines


topos = {"small": Small}

if __name__ == "__main__":
    setLogLevel("info")
    net = Mininet(topo=Small(), link=TCLink, switch=LinuxBridge, controller=None)
    net.start()
    try:
        route(net)
        CLI(net)
    finally:
        net.stop()
