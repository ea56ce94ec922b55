"""A router speaks BGP by the relations on its links, and OSPF inside its AS, for IPv4 and IPv6 (BIRD 2)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from testbed.job import Interface, Node, Process
from testbed.plan.policy import PREFERENCE, TAG
from testbed.roles import Equipment, Role, place

if TYPE_CHECKING:
    from testbed.plan.blueprint import Blueprint, Neighbor

_SCAN_S = 600  # interfaces and kernel routes are watched by netlink; the scan is only a safety net


class Router(Role):
    """An ISP's or the CDN's router: Gao-Rexford policy, iBGP full mesh, OSPF on internal links."""

    kind = "router"

    def equip(self, node: Node, plan: Blueprint) -> Equipment:
        """BIRD with one BGP protocol a neighbour and family."""
        families = tuple(_families(node))
        configuration = [
            *preamble(node),
            f"protocol direct {{ {' '.join(f'ipv{family};' for family in families)} }}",
        ]
        for family in families:
            configuration += [
                "protocol kernel {",
                f"  scan time {_SCAN_S};",
                f"  ipv{family} {{ import none; export where source != RTS_DEVICE; }};",
                "}",
            ]
        configuration += (_originated(node, plan, family) for family in families)
        configuration += _policy(node, _own(node, plan))
        for family in families:
            configuration += _ospf(node, plan, family)
        for number, neighbor in enumerate(plan.neighbors[node.name], start=1):
            configuration += _session(node, neighbor, number)
        return Equipment({place(node, "bird.conf"): "\n".join(configuration) + "\n"}, (daemon(node),))


def preamble(node: Node) -> list[str]:
    """How every BIRD of ours starts."""
    return [
        f"# {node.name}, {node.role} of AS{node.asn}",
        "log stderr all;",
        f"router id {_router_id(node)};",
        f"protocol device {{ scan time {_SCAN_S}; }}",
    ]


def _families(node: Node) -> Iterator[int]:
    if node.address:
        yield 4
    if node.address6:
        yield 6


def _router_id(node: Node) -> str:
    """The IPv4 address; where there is none, the end of the IPv6 address, which no other router has."""
    return node.address or str(IPv4Address(int(IPv6Address(node.address6)) & 0xFFFF_FFFF))


def daemon(node: Node) -> Process:
    """The BIRD process of a node; ready when all its BGP sessions and OSPF neighbours are up."""
    socket = place(node, "bird.ctl")
    return Process(
        name="bird", argv=("bird", "-f", "-c", place(node, "bird.conf"), "-s", socket), ready=f"bird:{socket}"
    )


def _originated(node: Node, plan: Blueprint, family: int) -> str:
    own = plan.network_of(node.name).originates[node.name]
    routes = "".join(f"  route {prefix} blackhole;\n" for prefix in own if prefix.version == family)
    return f"protocol static originated{family} {{\n  ipv{family};\n{routes}}}"


def _own(node: Node, plan: Blueprint) -> str:
    """Which routes are of our own AS: static ones, and those of LANs, by an interface of ours or by OSPF."""
    own = ["source = RTS_STATIC"]
    for family in (4, 6):
        connects = plan.network_of(node.name).connects
        prefixes = ", ".join(str(each) for each in connects if each.version == family)
        if prefixes:
            # in parentheses, since BIRD reads && and || from left to right, neither before the other
            own.append(
                f"(net.type = NET_IP{family} && source ~ [RTS_DEVICE, RTS_OSPF] && net ~ [{prefixes}])"
            )
    return " || ".join(own)


def _policy(node: Node, static: str) -> list[str]:
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
    own = f"{static} || (source = RTS_BGP && bgp_path.len = 0)"
    # To peers and providers go our own routes and our customers', nothing else: no valley. An OCA in an
    # ISP hears the same; one of the CDN's own sites also what the CDN's peers announce, since it is
    # there to serve them.
    conditions = {
        "customer": f"{static} || source = RTS_BGP",
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


def _ospf(node: Node, plan: Blueprint, family: int) -> list[str]:
    """OSPF among the routers of the AS; everything else of ours is a stub. A link's cost is its delay."""
    lines = [
        f"protocol ospf v{2 if family == 4 else 3} ospf{family} {{",
        f"  ipv{family} {{ import all; export none; }};",
        "  area 0 {",
    ]
    for interface in node.interfaces:
        if interface.address if family == 4 else interface.address6:
            kind = _ospf_kind(node, interface, plan)
            cost = min(max(1, interface.shape.delay_ns // 100_000), 65535)
            lines.append(f'    interface "{interface.name}" {{ {kind}; cost {cost}; }};')
    if family == 4:
        lines.append('    interface "lo" { stub yes; };')
    else:  # BIRD takes an interface into OSPFv3 by its link-local address, which lo has not
        lines.extend(f"    stubnet {address} {{ cost 0; }};" for address in node.loopbacks if ":" in address)
    return [*lines, "  };", "}"]


def _ospf_kind(node: Node, interface: Interface, plan: Blueprint) -> str:
    """What OSPF takes an interface for."""
    brothers = {*plan.network_of(node.name).routers} - {node.name}
    if interface.peer in brothers:
        return "type ptp"  # nobody is elected: a broadcast network waits 40 s for who wants to be
    if plan.nodes[interface.peer].role == "switch" and brothers & plan.lan_of[interface.link].nodes.keys():
        return "type broadcast"
    # Links to other ASes as well: who of us is asked from an address there has to know the way back.
    return "stub yes"


def _session(node: Node, neighbor: Neighbor, number: int) -> list[str]:
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
    return session(node, neighbor, f"bgp{number}", channel)


def session(node: Node, neighbor: Neighbor, name: str, channel: str, *options: str) -> list[str]:
    """A BGP protocol of BIRD that carries the routes of the session's family, and only those."""
    return [
        f"protocol bgp {name} {{  # {neighbor.node} ({neighbor.relation})",
        f"  local {neighbor.local_address} as {node.asn};",
        f"  neighbor {neighbor.address} as {neighbor.asn};",
        *(f"  {option}" for option in options),
        f"  ipv{neighbor.family} {{ {channel} }};",
        "}",
    ]
