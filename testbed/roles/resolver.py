"""An ISP's resolver: unbound, which asks the CDN's authority for the CDN's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node, Process
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Resolver(Role):
    """A recursive resolver for the clients and servers of one network."""

    kind = "resolver"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """unbound; the CDN's zone is a stub zone, since the network has no DNS root of its own."""
        zone = plan.topology.cdn.zone
        (authority,) = plan.by_role("authority")
        configuration = f"""# {node.name}
server:
  interface: {node.address}
  access-control: 10.0.0.0/8 allow
  do-ip6: no
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{place(node, "")}"
  pidfile: ""
  use-syslog: no
  verbosity: 1
  num-threads: 1
  # unbound draws a random number for every port that it may use; a thousand are enough here
  outgoing-port-avoid: 0-65535
  outgoing-port-permit: 40000-40999
  outgoing-range: 256
  module-config: "iterator"
  do-not-query-localhost: no
  rrset-roundrobin: no
stub-zone:
  name: "{zone}"
  stub-addr: {authority.address}
remote-control:
  control-enable: no
"""
        path = place(node, "unbound.conf")
        return Equipment(
            {path: configuration},
            (Process(name="unbound", argv=("unbound", "-d", "-c", path), ready="udp:53"),),
        )
