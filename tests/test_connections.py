import numpy as np
from captures import ACK, EPOCH_NS, MS, RST, SYN, Network, tcp, udp, write_pcap

from testbed.measure.capture import read
from testbed.measure.points import points
from testbed.measure.seen import Seen

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"


def numbered(net, folder):
    """By link, each packet's source port and flow number; the connections; and the addresses."""
    captures = [
        read(
            write_pcap(folder / f"{point.name}.pcap", sorted(net.seen[point.name])),
            point,
            EPOCH_NS,
            folder / point.name,
        )
        for point in points(net.job)
    ]
    seen = Seen(captures)
    found = {}
    for capture, numbers in zip(captures, seen.connections.numbers, strict=True):
        rows = [
            (int(port), int(numbers[flow]))
            for each in capture.packets()
            for port, flow in zip(each.sport, each.flow_id, strict=True)
        ]
        found[capture.point.link] = rows
    return found, seen.connections, seen.addresses


def flow_ids(rows):
    return [flow for _, flow in rows]


def test_a_connection_has_one_number_at_every_point_and_in_both_directions(tmp_path):
    net = Network()
    net.send(5 * MS, UP, tcp(4001, 443, 7, 0, SYN))
    net.send(0, UP, tcp(4000, 443, 100, 0, SYN))
    net.send(10 * MS, DOWN, tcp(443, 4000, 500, 101, SYN | ACK))
    found, _, _ = numbered(net, tmp_path)
    for link in ("c1--r1", "r1--ix", "r2--ix", "r2--s1"):
        assert dict(found[link]) == {4000: 1, 443: 1, 4001: 2}


def test_ports_used_again_make_another_connection_even_while_the_old_one_is_under_way(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 100, 0, SYN))
    net.send(1 * MS, UP, tcp(4000, 443, 100, 0, SYN))  # the same, retried
    net.send(50 * MS, UP, tcp(4000, 443, 101, 1, RST))
    net.send(100 * MS, UP, tcp(4000, 443, 9000, 0, SYN))
    net.send(130 * MS, DOWN, tcp(443, 4000, 1, 9001, SYN | ACK))
    found, connections, _ = numbered(net, tmp_path)
    assert flow_ids(found["c1--r1"]) == [1, 1, 1, 2, 2]
    assert flow_ids(found["r2--s1"]) == [1, 1, 1, 2, 2]
    assert len(connections.table) == 2


def test_a_connection_older_than_the_capture_has_a_number_and_the_lower_port_serves(tmp_path):
    net = Network()
    net.send(0, DOWN, tcp(443, 4000, 500, 101, ACK, b"data"))
    net.send(10 * MS, UP, tcp(4000, 443, 9000, 0, SYN))
    found, connections, addresses = numbered(net, tmp_path)
    assert flow_ids(found["c1--r1"]) == [1, 2]
    clients, ports = connections.clients()
    assert ports.tolist() == [0, 4000, 4000]
    assert [addresses.texts[code] for code in clients[1:]] == ["10.0.0.0", "10.0.0.0"]


def test_the_client_of_a_udp_flow_speaks_first_and_nothing_else_has_a_flow(tmp_path):
    net = Network()
    net.send(0, UP, udp(53, 4000, b"x"), proto=17)
    net.send(0, UP, b"\x08" + bytes(7), proto=1)
    found, connections, _ = numbered(net, tmp_path)
    assert sorted(flow_ids(found["c1--r1"])) == [0, 1]
    assert connections.clients()[1].tolist() == [0, 53]


def test_captures_without_packets_have_no_connections(tmp_path):
    found, connections, _ = numbered(Network(), tmp_path)
    assert connections.table.is_empty()
    assert not any(found.values())
    assert np.array_equal(connections.clients()[1], [0])
