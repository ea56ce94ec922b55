"""A campus as a Mininet user would write it."""

from mininet.topo import Topo


class Campus(Topo):
    """A loop of switches, halls of hosts, and a router with two links."""

    def build(self, halls=3, slow=False, **params):
        print("printing does not spoil the YAML")
        for hall in range(1, halls + 1):
            self.addSwitch(f"s{hall}")
        for hall in range(1, halls + 1):
            self.addLink(f"s{hall}", f"s{hall % halls + 1}", bw=1000, delay="50us", use_htb=True)
            host = self.addHost(f"h{hall}", ip=f"10.0.0.{hall}/24")
            self.addLink(host, f"s{hall}", bw=10 if slow else 100, delay="2ms", jitter="500usec", loss=0.1,
                         max_queue_size=50)
        self.addHost("R0")
        self.addLink("R0", "s1", delay=250, params1={"bw": 20}, params2={"bw": 5})
        self.addHost("server_1")
        self.addLink("R0", "server_1", delay="soon", jitter="1ms", bw=5000)
        self.addLink("server_1", "R0")
        self.addHost("spare")


class Alias(Campus):
    """Nothing of its own."""


topos = {"campus": lambda halls=3: Campus(halls=halls)}
