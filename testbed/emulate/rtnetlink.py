"""The routing subsystem's messages: links, addresses and routes, asked for and read back (rtnetlink(7)).

The numbers are those of linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h and veth.h.
"""

from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Container, Iterator

from pyroute2.netlink.rtnl import ifinfmsg, rtmsg

from testbed.emulate import attributes
from testbed.emulate.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    Request,
    attribute,
    nested,
)
from testbed.job import Interface, Node

LOOPBACK = 1  # every namespace's first interface is lo
IFF_UP = 1
BRIDGE = "br0"
LASTING = (0, 3, 4)  # states of a bridge's port that do not change by themselves: off, forwarding, blocking
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE, _NEWNEIGH = 20, 22, 24, 26, 28
_INET, _INET6, _BRIDGE = sockets.AF_INET, sockets.AF_INET6, 7
_IFINFOMSG = struct.Struct("=BBHiII")  # family, padding, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst and src lengths, tos, table, protocol, scope, type, flags
_NDMSG = struct.Struct("=BBHiHBB")  # family, padding, padding, index, state, flags, type
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD, _IFLA_GSO_MAX_SEGS = 18, 26, 28, 40
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BR_STP_STATE, _IFLA_BR_VLAN_FILTERING, _IFLA_BR_MCAST_SNOOPING = 5, 7, 23
_IFLA_BRIDGE_VLAN_INFO, _PVID, _UNTAGGED, _DEFAULT_VLAN = 2, 2, 4, 1
_IFA_ADDRESS, _IFA_LOCAL, _RTA_DST, _RTA_GATEWAY, _RTA_CACHEINFO = 1, 2, 1, 5, 12
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_PERMANENT, _TENTATIVE, _RUNNING = 0x80, 0x40, 0x40
_STATIC, _UNICAST, _MAIN, _SCOPE_LINK, _RTM_F_CLONED = 4, 1, 254, 253, 0x200


def pair(a: Interface, b: Interface, indexes: tuple[int, int], namespaces: tuple[int, int]) -> Request:
    """A veth pair, each end made where it belongs, with the number it will have there."""
    far = _IFINFOMSG.pack(0, 0, 0, indexes[1], 0, 0) + _end(b, namespaces[1])
    information = nested(
        _IFLA_LINKINFO,
        attribute(_IFLA_INFO_KIND, b"veth"),
        nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, far)),
    )
    near = _IFINFOMSG.pack(0, 0, 0, indexes[0], 0, 0) + _end(a, namespaces[0])
    meaning = f"make the pair of {a.link}: {a.name} ({a.mac}) and {b.name} ({b.mac})"
    return Request(_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, near + information, meaning)


def _end(interface: Interface, namespace: int) -> bytes:
    return (
        attribute(_IFLA_IFNAME, interface.name.encode() + b"\0")
        + attribute(_IFLA_ADDRESS, _mac(interface.mac))
        + attribute(_IFLA_NET_NS_FD, _U32.pack(namespace))
        + attribute(_IFLA_MTU, _U32.pack(interface.mtu))
        # a frame is a frame: nothing is left for a card to cut
        + attribute(_IFLA_GSO_MAX_SEGS, _U32.pack(1))
    )


def bridge(node: Node, index: int) -> Request:
    """A learning bridge; it has VLANs if one of its ports does, and 802.1D only where asked."""
    mac = node.interfaces[0].mac if node.interfaces else "02:00:00:00:00:01"
    filtering = any(interface.vlan for interface in node.interfaces)
    body = (
        _IFINFOMSG.pack(0, 0, 0, index, 0, 0)
        + attribute(_IFLA_IFNAME, BRIDGE.encode() + b"\0")
        + attribute(_IFLA_ADDRESS, _mac(mac))
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_KIND, b"bridge"),
            nested(
                _IFLA_INFO_DATA,
                attribute(_IFLA_BR_STP_STATE, _U32.pack(node.stp)),
                attribute(_IFLA_BR_MCAST_SNOOPING, b"\0"),
                attribute(_IFLA_BR_VLAN_FILTERING, bytes([filtering])),
            ),
        )
    )
    return Request(_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"make the bridge of {node.name}")


def access(index: int, vlan: int) -> list[Request]:
    """A bridge's port is taken out of the VLAN it has by default, and put into its own."""

    def spec(flags: int, number: int) -> bytes:
        info = attribute(_IFLA_BRIDGE_VLAN_INFO, _U16.pack(flags) + _U16.pack(number))
        return _IFINFOMSG.pack(_BRIDGE, 0, 0, index, 0, 0) + nested(_IFLA_AF_SPEC, info)

    return [
        Request(_DELLINK, 0, spec(0, _DEFAULT_VLAN), f"take port {index} out of VLAN {_DEFAULT_VLAN}"),
        Request(_SETLINK, 0, spec(_PVID | _UNTAGGED, vlan), f"put port {index} into VLAN {vlan}"),
    ]


def up(index: int, master: int | None = None) -> Request:
    """An interface is up, and the port of a bridge if it has a master."""
    body = _IFINFOMSG.pack(0, 0, 0, index, IFF_UP, IFF_UP)
    if master:
        body += attribute(_IFLA_MASTER, _U32.pack(master))
    return Request(_NEWLINK, 0, body, f"bring up interface {index}")


def down(index: int) -> Request:
    """An interface is down."""
    return Request(_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, IFF_UP), f"take down interface {index}")


def gone(index: int) -> Request:
    """An interface is no more, and neither is the other end of its pair."""
    return Request(_DELLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0), f"delete interface {index}")


def hardware(index: int, mac: str) -> Request:
    """An interface has another MAC address."""
    body = _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, _mac(mac))
    return Request(_NEWLINK, 0, body, f"give interface {index} the MAC address {mac}")


def address(index: int, text: str, *, delete: bool = False) -> Request:
    """An interface has, or has no longer, an address of either family: "10.0.0.1/31", "2001:db8::1/127"."""
    host, length = text.split("/")
    family, raw = _packed(host)
    body = (
        _IFADDRMSG.pack(family, int(length), _PERMANENT, 0, index)
        + attribute(_IFA_LOCAL, raw)
        + attribute(_IFA_ADDRESS, raw)
    )
    how = 0 if delete else NLM_F_CREATE | NLM_F_REPLACE
    meaning = f"{'take address' if delete else 'give address'} {text}, interface {index}"
    return Request(_NEWADDR + delete, how, body, meaning)


def route(prefix: str, via: str) -> Request:
    """A static route of either family."""
    host, length = prefix.split("/")
    family, raw = _packed(host)
    body = _RTMSG.pack(family, int(length), 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0)
    if int(length):
        body += attribute(_RTA_DST, raw)
    body += attribute(_RTA_GATEWAY, _packed(via)[1])
    return Request(_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, f"route {prefix} via {via}")


def neighbour(index: int, host: str, mac: str) -> Request:
    """A neighbour's MAC address is known for good: nobody asks for it."""
    family, raw = _packed(host)
    body = (
        _NDMSG.pack(family, 0, 0, index, _NUD_PERMANENT, 0, 0)
        + attribute(_NDA_DST, raw)
        + attribute(_NDA_LLADDR, _mac(mac))
    )
    how = NLM_F_CREATE | NLM_F_REPLACE
    return Request(_NEWNEIGH, how, body, f"know {host} as {mac} at interface {index}")


def names(socket: Netlink) -> Iterator[tuple[int, str]]:
    """The number and the name of every interface."""
    for body in _links(socket):
        found = dict(attributes.unpacked(body[_IFINFOMSG.size :]))
        yield _IFINFOMSG.unpack_from(body)[3], found[_IFLA_IFNAME].rstrip(b"\0").decode()


def flags(socket: Netlink) -> Iterator[tuple[str, int]]:
    """The name of every interface, and whether it is up."""
    for body in _links(socket):
        found = dict(attributes.unpacked(body[_IFINFOMSG.size :]))
        yield found[_IFLA_IFNAME].rstrip(b"\0").decode(), _IFINFOMSG.unpack_from(body)[4] & IFF_UP


def unsettled(socket: Netlink, indexes: Container[int]) -> bool:
    """Whether one of these interfaces has no carrier yet, or any address does not hold yet.

    The kernel works on both behind the back of who asked: meanwhile packets are dropped, and a source
    address may be the wrong one.
    """
    states = [_IFINFOMSG.unpack_from(body) for body in _links(socket)]
    if any(index in indexes and not state & _RUNNING for _, _, _, index, state, _ in states):
        return True
    return any(body[2] & _TENTATIVE for body in _addresses(socket, _INET6))


def addresses(socket: Netlink) -> Iterator[tuple[int, str]]:
    """Every address but link-local ones: (interface's number, "10.0.0.1/31")."""
    for body in _addresses(socket, 0):
        family, length, _, scope, index = _IFADDRMSG.unpack_from(body)
        if scope != _SCOPE_LINK:
            found = dict(attributes.unpacked(body[_IFADDRMSG.size :]))
            raw = found.get(_IFA_LOCAL, found[_IFA_ADDRESS])
            yield index, f"{sockets.inet_ntop(family, raw)}/{length}"


def port_states(socket: Netlink) -> Iterator[tuple[str, int]]:
    """The name of every port of a bridge, and its 802.1D state."""
    for body in _links(socket):
        link = _decoded(ifinfmsg.ifinfmsg, body)
        information = link.get_attr("IFLA_LINKINFO")
        if information and information.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge":
            port = information.get_attr("IFLA_INFO_SLAVE_DATA")
            yield link.get_attr("IFLA_IFNAME"), port.get_attr("IFLA_BRPORT_STATE")


def routes(socket: Netlink, *, ipv6: bool) -> Iterator[bytes]:
    """Every route of a namespace as the kernel has it, but for what passing packets leave behind."""
    for family in (_INET, _INET6)[: 1 + ipv6]:
        body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for _, found in socket.dump(Request(_GETROUTE, 0, body, "tell the routes")):
            fields = _RTMSG.unpack_from(found)
            if fields[-1] & _RTM_F_CLONED:  # learnt for one destination: its path's MTU, or a redirect
                continue
            yield _RTMSG.pack(*fields) + b"".join(
                attribute(number, value)
                for number, value in attributes.unpacked(found[_RTMSG.size :])
                if number != _RTA_CACHEINFO  # how often a route was used, and when
            )


def static_routes(socket: Netlink, *, ipv6: bool) -> Iterator[str]:
    """The routes that were set by hand, "2001:db8::/32 via 2001:db8::1"."""
    for body in routes(socket, ipv6=ipv6):
        if _RTMSG.unpack_from(body)[5] == _STATIC:
            found = _decoded(rtmsg.rtmsg, body)
            where = found.get_attr("RTA_DST") or "default"
            yield f"{where}/{found['dst_len']} via {found.get_attr('RTA_GATEWAY')}"


def _links(socket: Netlink) -> list[bytes]:
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0, 0)
    return [found for _, found in socket.dump(Request(_GETLINK, 0, body, "tell the interfaces"))]


def _addresses(socket: Netlink, family: int) -> list[bytes]:
    body = _IFADDRMSG.pack(family, 0, 0, 0, 0)
    return [found for _, found in socket.dump(Request(_GETADDR, 0, body, "tell the addresses"))]


def _decoded(kind: type, body: bytes) -> ifinfmsg.ifinfmsg | rtmsg.rtmsg:
    message = kind(struct.pack("=IHHII", len(body) + 16, 0, 0, 0, 0) + body)
    message.decode()
    return message


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _packed(host: str) -> tuple[int, bytes]:
    """An address's family, and its bytes."""
    family = _INET6 if ":" in host else _INET
    return family, sockets.inet_pton(family, host)
