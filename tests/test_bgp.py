import ipaddress
import itertools
import random
import struct

import pytest
from captures import ACK, FIN, MS, SYN, Network, tcp
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.measure.bgp import Agreed, messages, parsed
from testbed.measure.tables import Tables, write


def message(kind, body=b""):
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body


def opened(asn, wide=True, many=0):
    capabilities = bytes([65, 4]) + asn.to_bytes(4) if wide else bytes([2, 0])
    if many:  # 1: receives several paths to a prefix, 2: sends them
        capabilities += bytes([69, 4, 0, 1, 1, many])
    options = bytes([2, len(capabilities)]) + capabilities
    return message(1, struct.pack(">BHHIB", 4, min(asn, 23456), 90, 1, len(options)) + options)


def prefix(text):
    network = ipaddress.ip_network(text)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def attribute(code, value):
    if len(value) > 255:
        return bytes([0x50, code]) + struct.pack(">H", len(value)) + value
    return bytes([0x40, code, len(value)]) + value


def path(*numbers, kind=2, width=4):
    return bytes([kind, len(numbers)]) + b"".join(number.to_bytes(width) for number in numbers)


def update(withdrawn=(), attributes=b"", announced=()):
    gone, new = b"".join(map(prefix, withdrawn)), b"".join(map(prefix, announced))
    return struct.pack(">H", len(gone)) + gone + struct.pack(">H", len(attributes)) + attributes + new


HOP = attribute(3, bytes([10, 0, 9, 1]))


class TestUpdates:
    def test_every_prefix_is_a_row(self):
        attributes = attribute(2, path(64501, 4_200_000_001)) + HOP + attribute(4, (50).to_bytes(4))
        attributes += attribute(8, struct.pack(">III", 64501 << 16 | 100, 0xFFFFFF01, 0xFFFF029A))
        attributes += attribute(32, struct.pack(">III", 64501, 1, 2)) + attribute(1, b"\0")
        attributes += attribute(5, (300).to_bytes(4)) + attribute(6, b"") + attribute(9, bytes([10, 0, 0, 7]))
        attributes += attribute(7, (64501).to_bytes(4) + bytes([10, 0, 0, 9]))
        attributes += attribute(10, bytes([10, 0, 0, 1, 10, 0, 0, 2])) + attribute(16, bytes(range(8)))
        rows = parsed(2, update(["10.9.0.0/16"], attributes, ["10.1.0.0/17", "0.0.0.0/0"]))
        common = {
            "kind": "announce", "next_hop": "10.0.9.1", "as_path": "64501 4200000001", "med": 50,
            "communities": ["64501:100", "no-export", "blackhole", "64501:1:2", "0x0001020304050607"],
            "origin": "igp", "local_pref": 300, "originator": "10.0.0.7",
            "clusters": ["10.0.0.1", "10.0.0.2"], "atomic_aggregate": True, "aggregator": "64501 10.0.0.9",
        }  # fmt: skip
        assert rows == [
            {"kind": "withdraw", "prefix": "10.9.0.0/16"},
            common | {"prefix": "10.1.0.0/17"},
            common | {"prefix": "0.0.0.0/0"},
        ]

    def test_ipv6_comes_in_attributes(self):
        there = ipaddress.ip_address("2001:db8::1").packed
        reach = struct.pack(">HBB", 2, 1, 32) + there + bytes(16) + b"\0" + prefix("2001:db8:5::/48")
        gone = struct.pack(">HB", 2, 1) + prefix("2001:db8:6::/48")
        rows = parsed(
            2, update(attributes=attribute(2, path(64501)) + attribute(14, reach) + attribute(15, gone))
        )
        assert [(row["kind"], row["prefix"], row.get("next_hop")) for row in rows] == [
            ("withdraw", "2001:db8:6::/48", None),
            ("announce", "2001:db8:5::/48", "2001:db8::1"),
        ]

    @pytest.mark.parametrize(
        ("wide", "attributes", "wanted"),
        [
            (True, attribute(2, path(1, 2) + path(7, 8, kind=1)), "1 2 {7,8}"),
            (True, attribute(2, b""), ""),
            (False, attribute(2, path(64501, 64502, width=2)), "64501 64502"),
            (
                False,
                attribute(2, path(64501, 23456, width=2)) + attribute(17, path(4_200_000_001)),
                "64501 4200000001",
            ),
        ],
    )
    def test_paths(self, wide, attributes, wanted):
        (row,) = parsed(2, update(attributes=attributes + HOP, announced=["10.0.0.0/8"]), Agreed(wide))
        assert row["as_path"] == wanted

    def test_an_update_without_routes_ends_a_rib(self):
        assert parsed(2, update()) == [{"kind": "end-of-rib"}]

    def test_of_several_paths_each_has_its_number(self):
        routes = struct.pack(">I", 7) + prefix("10.1.0.0/16") + struct.pack(">I", 8) + prefix("10.1.0.0/16")
        gone = struct.pack(">I", 9) + prefix("10.1.0.0/16")
        attributes = attribute(2, path(64501)) + HOP
        body = struct.pack(">H", len(gone)) + gone + struct.pack(">H", len(attributes)) + attributes + routes
        rows = parsed(2, body, Agreed(many_paths=frozenset([4])))
        found = [(row["kind"], row["prefix"], row["path_id"]) for row in rows]
        assert found == [
            (kind, "10.1.0.0/16", n) for kind, n in (("withdraw", 9), ("announce", 7), ("announce", 8))
        ]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (bytes([4, 0]), "hold timer expired"),
            (bytes([6, 2]), "cease: administrative shutdown"),
            (bytes([6, 99]), "cease: 99"),
            (bytes([3, 11]), "UPDATE message (11)"),
            (b"", None),
        ],
    )
    def test_a_notification_says_why(self, body, reason):
        assert parsed(3, body) == [{"kind": "notification", "reason": reason}]

    @given(st.integers(1, 5), st.binary(max_size=80), st.booleans(), st.booleans())
    def test_garbage_never_crashes(self, kind, body, wide, many):
        agreed = Agreed(wide, frozenset([4, 16]) if many else frozenset())
        assert all("kind" in row for row in parsed(kind, body, agreed))


class TestStreams:
    STREAM = message(4) + message(2, update(["10.0.0.0/8"])) + message(3, b"\6\4") + message(4)

    @settings(deadline=None)
    @given(
        st.lists(st.integers(1, 100), max_size=6),
        st.randoms(use_true_random=False),
        st.integers(0, 2**32 - 1),
    )
    def test_segments_in_any_order_and_number_make_the_same_messages(self, cuts, chance, isn):
        places = sorted({0, len(self.STREAM), *(cut for cut in cuts if cut < len(self.STREAM))})
        pieces = [(isn + 1 + a, self.STREAM[a:b]) for a, b in itertools.pairwise(places)]
        pieces += chance.sample(pieces, 1)
        chance.shuffle(pieces)
        segments = [(t_ns, seq % 2**32, data) for t_ns, (seq, data) in enumerate(pieces)]
        assert [kind for _, kind, _ in messages(segments, isn)] == [4, 2, 3, 4]

    def test_a_message_is_there_when_its_last_byte_is(self):
        first, rest = self.STREAM[:30], self.STREAM[30:]
        found = list(messages([(500, 31, rest), (900, 1, first), (1000, 1, first)], 0))
        assert [t_ns for t_ns, _, _ in found] == [900, 900, 900, 900]
        found = list(messages([(100, 1, first), (500, 31, rest)], 0))
        assert [t_ns for t_ns, _, _ in found] == [100, 500, 500, 500]

    def test_after_a_gap_reading_goes_on_with_the_next_message(self):
        whole = self.STREAM
        found = list(messages([(1, 1, whole[:25]), (2, 31, whole[30:])], 0))
        assert [kind for _, kind, _ in found] == [4, 3, 4]

    @given(st.binary(max_size=120))
    def test_garbage_never_crashes(self, garbage):
        found = list(messages([(0, 1, garbage + b"\xff" * 16)]))
        assert all(1 <= kind <= 5 for _, kind, _ in found)


def test_each_session_is_read_once_at_the_receiver(tmp_path):
    """r1 and r2 speak across the switch, so two captures hold every message."""
    net = Network()
    there, back = "r1 ix r2", "r2 ix r1"
    net.send(0, there, tcp(5000, 179, 99, 0, SYN))
    net.send(2 * MS, back, tcp(179, 5000, 499, 100, SYN | ACK))
    seq = 100
    routes = update(attributes=attribute(2, path(64501)) + HOP, announced=["10.1.0.0/16", "10.2.0.0/16"])
    for number, data in enumerate(
        (opened(64501), message(4), message(2, routes), message(2, update(["10.2.0.0/16"])))
    ):
        net.send((10 + number) * MS, there, tcp(5000, 179, seq, 500, ACK, data))
        if number == 2:
            net.send((15 + number) * MS, there, tcp(5000, 179, seq, 500, ACK, data))  # again
        seq += len(data)
    net.send(20 * MS, back, tcp(179, 5000, 500, seq, ACK, opened(64502)))
    net.send(40 * MS, there, tcp(5000, 179, seq, 600, FIN | ACK))
    write(net.write(tmp_path, rings=True, snap=65535))
    rows = Tables(tmp_path).sql("select t_ns, node, peer, kind, prefix, as_path, next_hop from bgp")
    # r1's own link is captured at r1: what reaches r2 is seen behind the switch, a millisecond on
    assert rows == [
        (11 * MS, "r2", "r1", "open", None, None, None),
        (12 * MS, "r2", "r1", "keepalive", None, None, None),
        (13 * MS, "r2", "r1", "announce", "10.1.0.0/16", "64501", "10.0.9.1"),
        (13 * MS, "r2", "r1", "announce", "10.2.0.0/16", "64501", "10.0.9.1"),
        (14 * MS, "r2", "r1", "withdraw", "10.2.0.0/16", None, None),
        (21 * MS, "r1", "r2", "open", None, None, None),
        (41 * MS, "r2", "r1", "closed", None, None, None),
    ]


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_both_opens_decide_how_wide_as_numbers_are(tmp_path, first, second):
    net = Network()
    width = 4 if first and second else 2
    routes = update(attributes=attribute(2, path(64501, 64510, width=width)) + HOP, announced=["10.1.0.0/16"])
    data = opened(64501, first) + message(2, routes)
    net.send(0, "c1 r1", tcp(5000, 179, 100, 500, ACK, data))
    net.send(1, "r1 c1", tcp(179, 5000, 500, 100, ACK, opened(64502, second)))
    write(net.write(tmp_path, snap=65535))
    assert Tables(tmp_path).sql("select as_path from bgp where kind = 'announce'") == [("64501 64510",)]


@pytest.mark.parametrize(("sends", "receives", "wanted"), [(2, 1, [5]), (3, 3, [5]), (1, 1, []), (2, 0, [])])
def test_several_paths_are_read_where_one_end_sends_and_the_other_receives_them(
    tmp_path, sends, receives, wanted
):
    net = Network()
    attributes = attribute(2, path(64501)) + HOP
    number = struct.pack(">I", 5) if wanted else b""
    routes = struct.pack(">HH", 0, len(attributes)) + attributes + number + prefix("10.1.0.0/16")
    data = opened(64501, many=sends) + message(2, routes)
    net.send(0, "c1 r1", tcp(5000, 179, 100, 500, ACK, data))
    net.send(1, "r1 c1", tcp(179, 5000, 500, 100, ACK, opened(64502, many=receives)))
    write(net.write(tmp_path, snap=65535))
    (row,) = Tables(tmp_path).sql("select prefix, path_id from bgp where kind = 'announce'")
    assert row == ("10.1.0.0/16", *(wanted or [None]))


def test_scapy_builds_what_we_read():
    scapy = pytest.importorskip("scapy.contrib.bgp", reason="scapy is not installed, and is the judge here")
    chance = random.Random(1)
    for _ in range(20):
        numbers = [chance.randrange(1, 2**32) for _ in range(chance.randrange(1, 6))]
        route = f"10.{chance.randrange(256)}.0.0/16"
        segment = scapy.BGPPAAS4BytesPath.ASPathSegment(segment_type=2, segment_value=numbers)
        built = scapy.BGPUpdate(
            path_attr=[
                scapy.BGPPathAttr(
                    type_flags=0x40, type_code=2, attribute=scapy.BGPPAAS4BytesPath(segments=[segment])
                ),
                scapy.BGPPathAttr(
                    type_flags=0x40, type_code=3, attribute=scapy.BGPPANextHop(next_hop="192.0.2.7")
                ),
            ],
            nlri=[scapy.BGPNLRI_IPv4(prefix=route)],
        )
        (row,) = parsed(2, bytes(scapy.BGPHeader(type=2) / built)[19:])
        assert (row["prefix"], row["next_hop"]) == (route, "192.0.2.7")
        assert row["as_path"] == " ".join(map(str, numbers))
