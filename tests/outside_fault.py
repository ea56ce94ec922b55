"""A fault of somebody else's package, as an entry point would bring it."""

from dataclasses import dataclass

from testbed.faults import Fault, LinkName, NodeName


@dataclass(kw_only=True)
class Cut(Fault):
    """{kind: cut, link: a--b, at: 1s, lasts: 1s}"""

    kind = "cut"

    link: LinkName

    def where(self):
        return self.link

    def strike(self, net):
        return net.down(self.link)

    def took_hold(self, tables):
        return None

    def healed(self, tables):
        return None


@dataclass(kw_only=True)
class Killed(Fault):
    """{kind: killed, node: a, at: 1s, lasts: 1s}"""

    kind = "killed"

    node: NodeName

    def where(self):
        return self.node

    def strike(self, net):
        return net.stopped(self.node)

    def took_hold(self, tables):
        return None

    def healed(self, tables):
        return None
