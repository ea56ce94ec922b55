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
        zone = plan.cdn.zone
        (authority,) = plan.by_role("authority")
        listen = "\n".join(f"  interface: {own}" for own in (node.address, node.address6) if own)
        configuration = f"""# {node.name}
server:
{listen}
  # everybody who can reach it belongs to the run
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  do-ip6: {"yes" if node.address6 else "no"}
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
  stub-addr: {authority.address or authority.address6}
remote-control:
  control-enable: no
"""
        path = place(node, "unbound.conf")
        return Equipment(
            {path: configuration},
            (Process(name="unbound", argv=("unbound", "-d", "-c", path), ready="udp:53"),),
        )
