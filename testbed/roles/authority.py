"""The authority answers for the CDN's zone: the addresses of every OCA, the origin and steering (NSD)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node, Process
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint


class Authority(Role):
    """The CDN's authoritative name server."""

    kind = "authority"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """NSD with the zone as a file."""
        zone = plan.cdn.zone
        records = [
            f"$ORIGIN {zone}.",
            f"$TTL {int(plan.cdn.ttl) // 10**9}",
            f"@ IN SOA authority.{zone}. hostmaster.{zone}. 1 3600 600 86400 60",
            f"@ IN NS authority.{zone}.",
        ]
        for role in ("authority", "steering", "origin", "oca"):
            for served in plan.by_role(role):
                if served.address:
                    records.append(f"{served.name} IN A {served.address}")
                if served.address6:
                    records.append(f"{served.name} IN AAAA {served.address6}")
        if plan.cdn.steering.mode == "dns":
            records.append(f"edge IN NS steering.{zone}.")
        records += [
            f"edge IN {'A' if prefix.version == 4 else 'AAAA'} {prefix[1]}" for prefix in plan.anycast
        ]
        listen = "\n".join(f"  ip-address: {own}" for own in (node.address, node.address6) if own)
        configuration = f"""# {node.name}
server:
{listen}
  server-count: 1
  # no zone transfers and no rate limits here; NSD draws 16,384 random numbers to prepare for them
  tcp-count: 16
  rrl-size: 16
  rrl-ratelimit: 0
  xfrd-tcp-max: 1
  xfrd-tcp-pipeline: 1
  username: ""
  chroot: ""
  zonesdir: "{place(node, "")}"
  database: ""
  pidfile: ""
  logfile: ""
  xfrdfile: ""
  zonelistfile: "{place(node, "zone.list")}"
  xfrdir: "{place(node, "")}"
remote-control:
  control-enable: no
zone:
  name: {zone}
  zonefile: cdn.zone
"""
        path = place(node, "nsd.conf")
        files = {path: configuration, place(node, "cdn.zone"): "\n".join(records) + "\n"}
        return Equipment(files, (Process(name="nsd", argv=("nsd", "-d", "-c", path), ready="udp:53"),))
