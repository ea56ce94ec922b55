"""A router speaks BGP by the relations on its links, and OSPF inside its AS (BIRD 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.job import Node, Process
from testbed.plan.policy import PREFERENCE, TAG
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint, Neighbor

_SCAN_S = 600  # interfaces and kernel routes are watched by netlink; the scan is only a safety net


class Router(Role):
    """An ISP's or the CDN's router: Gao-Rexford policy, iBGP full mesh, OSPF on internal links."""

    kind = "router"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """BIRD with one BGP protocol a neighbour."""
        configuration = [
            *preamble(node),
            "protocol direct { ipv4; }",
            "protocol kernel {",
            f"  scan time {_SCAN_S};",
            "  ipv4 { import none; export where source != RTS_DEVICE; };",
            "}",
            *_originated(node, plan),
            *_policy(node),
            *_ospf(node, plan),
        ]
        for number, neighbor in enumerate(plan.neighbors[node.name], start=1):
            configuration.extend(_session(node, neighbor, number))
        return Equipment({place(node, "bird.conf"): "\n".join(configuration) + "\n"}, (daemon(node),))


def preamble(node: Node) -> list[str]:
    """How every BIRD of ours starts."""
    return [
        f"# {node.name}, {node.role} of AS{node.asn}",
        "log stderr all;",
        f"router id {node.address};",
        f"protocol device {{ scan time {_SCAN_S}; }}",
    ]


def daemon(node: Node) -> Process:
    """The BIRD process of a node; ready when all its sessions are established."""
    socket = place(node, "bird.ctl")
    return Process(
        name="bird", argv=("bird", "-f", "-c", place(node, "bird.conf"), "-s", socket), ready=f"bird:{socket}"
    )


def _originated(node: Node, plan: Blueprint) -> list[str]:
    prefixes = plan.networks[node.name.partition(".")[0]].originates[node.name]
    routes = "".join(f"  route {prefix} blackhole;\n" for prefix in prefixes)
    return [f"protocol static originated {{\n  ipv4;\n{routes}}}"]


def _policy(node: Node) -> list[str]:
    lines = []
    for relation, preference in PREFERENCE.items():
        lines.append(
            f"filter from_{relation} {{\n"
            f"  bgp_local_pref = {preference};\n"
            f"  bgp_large_community.add(({node.asn}, 1, {TAG[relation]}));\n"
            "  accept;\n}"
        )
    ours, peers = (
        f"({node.asn}, 1, {TAG[relation]}) ~ bgp_large_community" for relation in ("customer", "peer")
    )
    own = "source = RTS_STATIC || (source = RTS_BGP && bgp_path.len = 0)"
    # To peers and providers go our own routes and our customers', nothing else: no valley. An OCA in an
    # ISP hears the same; one of the CDN's own sites also what the CDN's peers announce, since it is
    # there to serve them.
    conditions = {
        "customer": "source = RTS_STATIC || source = RTS_BGP",
        "others": f"{own} || {ours}",
        "oca": f"{own} || {ours}" if node.isp else f"{own} || {ours} || {peers}",
    }
    for audience, condition in conditions.items():
        lines.append(
            f"filter to_{audience} {{\n"
            f"  if {condition} then {{ bgp_large_community.delete([({node.asn}, 1, *)]); accept; }}\n"
            "  reject;\n}"
        )
    return lines


def _ospf(node: Node, plan: Blueprint) -> list[str]:
    """OSPF on the links to routers of the same AS; everything else of ours is a stub, cost by delay."""
    network = plan.networks[node.name.partition(".")[0]]
    lines = ["protocol ospf v2 ospf1 {", "  ipv4 { import all; export none; };", "  area 0 {"]
    for interface in node.interfaces:
        inside = interface.peer in network.routers
        if not inside and plan.nodes[interface.peer].role in ("router", "exchange"):
            continue  # another AS's business
        cost = max(1, interface.shape.delay_ns // 100_000)
        kind = "type ptp" if inside else "stub yes"
        lines.append(f'    interface "{interface.name}" {{ {kind}; cost {min(cost, 65535)}; }};')
    return [*lines, '    interface "lo" { stub yes; };', "  };", "}"]


def _session(node: Node, neighbor: Neighbor, number: int) -> list[str]:
    head = [
        f"protocol bgp bgp{number} {{  # {neighbor.node} ({neighbor.relation})",
        f"  local {neighbor.local_address} as {node.asn};",
        f"  neighbor {neighbor.address} as {neighbor.asn};",
    ]
    match neighbor.relation:
        case "internal":
            channel = "import all; export where source = RTS_BGP || source = RTS_STATIC; next hop self;"
        case "oca":
            channel = "import none; export filter to_oca;"
        case "customer":
            channel = "import filter from_customer; export filter to_customer;"
        case "provider":
            channel = "import filter from_provider; export filter to_others;"
        case "peer" | "route-server":
            channel = "import filter from_peer; export filter to_others;"
        case relation:
            raise ValueError(f"{node.name}: no policy for a neighbour that is our {relation}")
    return [*head, f"  ipv4 {{ {channel} }};", "}"]
