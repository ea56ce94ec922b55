"""Forwarding tables: what the kernel tells of them, and what they were at any moment of a run."""

import socket
import struct
from ipaddress import ip_address, ip_network

import made
import pytest

from testbed.emulate import forwarding as watch
from testbed.emulate.forwarding import Entry, Table, entry
from testbed.emulate.netlink import attribute
from testbed.measure.forwarding import Forwarding, name_links
from testbed.measure.tables import Tables

NEW, DELETE = 24, 25
NAMES = {2: "eth0", 3: "eth1"}


def message(prefix, *ways, kind=1, protocol=12, table=254, metric=0, flags=0):
    """A route as the kernel tells it; ways are (gateway, interface)."""
    network = ip_network(prefix)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, table, protocol, 0, kind, flags)
    if network.prefixlen:
        body += attribute(1, network.network_address.packed)
    if metric:
        body += attribute(6, struct.pack("=I", metric))
    hops = [(attribute(5, ip_address(via).packed) if via else b"", index) for via, index in ways]
    if len(hops) == 1:
        body += hops[0][0] + attribute(4, struct.pack("=I", hops[0][1]))
    elif hops:
        several = (struct.pack("=HBBi", 8 + len(via), 0, 0, index) + via for via, index in hops)
        body += attribute(9, b"".join(several))
    return body


V6 = "2001:db8::/32"
WAY = (("10.0.0.1", 2),)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message("10.1.0.0/16", *WAY), Entry("10.1.0.0/16", 0, "unicast", "bird", WAY)),
        (message("0.0.0.0/0", *WAY, protocol=4), Entry("0.0.0.0/0", 0, "unicast", "static", WAY)),
        (
            message("10.0.0.0/31", ("", 2), protocol=2),
            Entry("10.0.0.0/31", 0, "unicast", "kernel", (("", 2),)),
        ),
        (
            message(V6, ("fe80::1", 2), ("fe80::2", 3), metric=32),
            Entry(V6, 32, "unicast", "bird", (("fe80::1", 2), ("fe80::2", 3))),
        ),
        (message(V6, ("", 1), kind=6, protocol=99), Entry(V6, 0, "blackhole", "99", ())),
        (message("10.0.0.1/32", ("", 1), table=255), None),
        (message("10.0.0.1/32", ("", 1), kind=2), None),
        (message("2001:db8::1/128", ("", 2), flags=0x200), None),
        (message("fe80::/64", ("", 2), protocol=2), None),
        (message("ff00::/8", ("", 2), protocol=2), None),
    ],
)
def test_a_message_is_a_route_or_none_of_ours(body, expected):
    assert entry(body) == expected


def shown(rows):
    return [
        " ".join(
            [row["change"], row["prefix"], *map("@".join, zip(row["via"], row["interface"], strict=True))]
        )
        for row in rows
    ]


def test_only_differences_are_told():
    table = Table("r", NAMES)
    first = message("10.1.0.0/16", ("10.0.0.1", 2))
    second = message("10.1.0.0/16", ("10.0.0.5", 3))
    assert shown(table.told(NEW, first)) == ["added 10.1.0.0/16 10.0.0.1@eth0"]
    assert shown(table.told(NEW, first)) == []
    assert shown(table.told(NEW, second)) == ["changed 10.1.0.0/16 10.0.0.5@eth1"]
    assert shown(table.told(DELETE, first)) == []  # that one has been replaced
    assert shown(table.told(DELETE, second)) == ["removed 10.1.0.0/16 10.0.0.5@eth1"]
    assert shown(table.told(DELETE, second)) == []


def test_one_of_several_ways_can_go():
    table = Table("r", NAMES)
    list(table.told(NEW, message(V6, ("fe80::1", 2), ("fe80::2", 3))))
    assert shown(table.told(DELETE, message(V6, ("fe80::1", 2)))) == [f"changed {V6} fe80::2@eth1"]
    assert shown(table.told(DELETE, message(V6, ("fe80::2", 3)))) == [f"removed {V6} fe80::2@eth1"]


def test_a_table_read_whole_tells_what_the_kernel_did_not():
    table = Table("r", NAMES)
    known, other = (entry(message(prefix, *WAY)) for prefix in ("10.1.0.0/16", "10.2.0.0/16"))
    both = {(route.prefix, 0): route for route in (known, other)}
    assert [row["change"] for row in table.read(both, watch.PRESENT)] == ["present", "present"]
    rest = table.read({("10.2.0.0/16", 0): other._replace(ways=(("10.0.0.3", 3),))})
    assert shown(rest) == ["removed 10.1.0.0/16 10.0.0.1@eth0", "changed 10.2.0.0/16 10.0.0.3@eth1"]


def test_interfaces_get_the_names_of_their_links():
    rows = [{"node": "north.core", "interface": ["eth1", "lo"]}]
    name_links(rows, made.job())
    assert rows == [{"node": "north.core", "link": ["north.core--oca-x1", "lo"]}]


def change(t_s, prefix, change, *via, metric=0):
    return {
        "t_ns": t_s * made.S, "node": "r", "prefix": prefix, "change": change, "kind": "unicast",
        "via": list(via), "link": ["l"] * len(via), "protocol": "bird", "metric": metric,
    }  # fmt: skip


def test_a_table_is_known_at_any_moment(tmp_path):
    made.run(
        tmp_path,
        routes=[
            change(-5, "0.0.0.0/0", "present", "10.0.0.1"),
            change(-5, "2001:db8::/32", "present", "fe80::1", metric=1024),
            change(1, "10.1.0.0/16", "added", "10.0.0.2"),
            change(2, "2001:db8::/32", "added", "fe80::2", metric=32),
            change(3, "10.1.0.0/16", "changed", "10.0.0.3"),
            change(4, "10.1.0.0/16", "removed", "10.0.0.3"),
            change(4, "10.1.0.0/16", "added", "10.0.0.4"),
            change(5, "10.1.0.0/16", "removed", "10.0.0.4"),
        ],
    )
    found = Forwarding(Tables(tmp_path))
    at = {t: found.lookup("r", ip_address("10.1.2.3"), t * made.S).via[0] for t in range(6)}
    assert at == {0: "10.0.0.1", 1: "10.0.0.2", 2: "10.0.0.2", 3: "10.0.0.3", 4: "10.0.0.4", 5: "10.0.0.1"}
    assert found.lookup("r", ip_address("2001:db8::1"), 0).via == ("fe80::1",)
    assert found.lookup("r", ip_address("2001:db8::1"), 2 * made.S).via == ("fe80::2",)
    assert found.lookup("r", ip_address("192.0.2.1"), -6 * made.S) is None
    assert [str(route.prefix) for route in found.table("r", made.S)] == [
        "0.0.0.0/0",
        "10.1.0.0/16",
        "2001:db8::/32",
    ]
