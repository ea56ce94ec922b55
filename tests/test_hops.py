import dataclasses

import pytest
from captures import ACK, EPOCH_NS, MS, Network, S, ethernet, in_ipv6, ipv4, mac, network, tcp, udp

from testbed.job import Job
from testbed.measure.points import points
from testbed.measure.tables import Tables, write

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"
ROWS = 'select "from", "to", link, sent_ns, received_ns, delay_ns, lost from hops order by sent_ns, "from"'


def crossed(net, folder, query=ROWS, **guest):
    run = net.write(folder, **guest)
    write(run)
    return Tables(run).sql(query)


@pytest.mark.parametrize("job", [network(), in_ipv6(network())], ids=["IPv4", "IPv6"])
def test_each_node_on_the_way_makes_one_hop(tmp_path, job):
    net = Network(job)
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"), hop_ns=3 * MS)
    assert crossed(net, tmp_path) == [
        ("r1", "ix", "r1--ix", 0, 3 * MS, 3 * MS, False),
        ("ix", "r2", "r2--ix", 3 * MS, 6 * MS, 3 * MS, False),
        ("r2", "s1", "r2--s1", 6 * MS, 9 * MS, 3 * MS, False),
    ]


@pytest.mark.parametrize("lost_at", ["r1", "ix", "r2"])
def test_a_packet_that_does_not_come_out_is_lost_on_the_link_its_flow_takes(tmp_path, lost_at):
    net = Network()
    for number in range(4):
        net.send(
            number * MS, UP, tcp(4000, 443, number, 1, ACK, b"x"), lost_at=lost_at if number in (0, 2) else ""
        )
    links = {"r1": ("r1--ix", "ix"), "ix": ("r2--ix", "r2"), "r2": ("r2--s1", "s1")}
    found = crossed(
        net, tmp_path, 'select "from", link, "to", flow_id, received_ns, delay_ns from hops where lost'
    )
    assert found == [(lost_at, *links[lost_at], 1, None, None)] * 2


def test_a_lost_packet_of_another_flow_takes_the_exit_of_its_destination(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"))
    net.send(1 * MS, "c1 r1 ix r2 x1", tcp(4000, 443, 1, 1, ACK, b"x"))
    net.send(2 * MS, UP, tcp(9999, 443, 1, 1, ACK, b"x"), lost_at="r2")
    net.send(3 * MS, "c1 r1 ix r2 x1", tcp(9999, 443, 1, 1, ACK, b"x"), lost_at="r2")
    found = crossed(net, tmp_path, "select link from hops where lost order by sent_ns")
    assert found == [("r2--s1",), ("r2--x1",)]


def test_where_nothing_tells_the_exit_the_link_is_null(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"), lost_at="r1")
    assert crossed(net, tmp_path, 'select link, "from", "to", lost from hops') == [(None, "r1", None, True)]


def test_a_packet_may_have_left_by_a_link_that_is_not_captured(tmp_path):
    job = network()
    net = Network(dataclasses.replace(job, captures=tuple(name for name in job.captures if name != "r2--x1")))
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"), lost_at="r2")
    net.send(MS, UP, tcp(4001, 443, 1, 1, ACK, b"x"))
    net.send(2 * MS, UP, tcp(4001, 443, 2, 1, ACK, b"x"), lost_at="r2")
    job_text = net.write(tmp_path) / "job.json"
    assert len(Job.loads(job_text.read_text()).captures) == 5
    write(tmp_path)
    lost = Tables(tmp_path).sql('select "from", link, sent_ns from hops where lost order by sent_ns')
    # the destination of the first is known from the second
    assert lost == [("r2", "r2--s1", 2 * MS), ("r2", "r2--s1", 4 * MS)]


def test_what_is_under_way_at_the_end_is_neither_lost_nor_received(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"))
    net.send(18 * S + 1 - MS, UP, tcp(4000, 443, 2, 1, ACK, b"x"), lost_at="ix")
    net.send(18 * S - MS, UP, tcp(4000, 443, 3, 1, ACK, b"x"), lost_at="ix")
    found = crossed(net, tmp_path, "select sent_ns from hops where lost")
    assert found == [(18 * S,)]


def test_equal_packets_are_told_apart_by_their_order(tmp_path):
    net = Network()
    for number in range(3):
        net.send(number * 10 * MS, UP, udp(5000, 53, b"same"), proto=17, ident=0, hop_ns=(number + 1) * MS)
    found = crossed(
        net, tmp_path, "select sent_ns, delay_ns from hops where \"from\" = 'r1' order by sent_ns"
    )
    assert found == [(0, MS), (10 * MS, 2 * MS), (20 * MS, 3 * MS)]


def test_a_copy_made_on_the_way_is_no_hop_of_its_own(tmp_path):
    net = Network()
    net.send(0, UP, udp(5000, 53, b"same"), proto=17)
    net.seen["r2.eth1"].append((net.seen["r2.eth1"][0][0] + MS, net.seen["r2.eth1"][0][1]))
    assert len(crossed(net, tmp_path)) == 3


def test_a_copy_made_on_the_way_does_not_stand_for_an_equal_packet_that_is_lost_later(tmp_path):
    net = Network()
    same = {"proto": 17, "ident": 0, "hop_ns": MS}
    net.send(0, UP, udp(5000, 53, b"same"), **same)
    left = net.seen["r2.eth1"][0]
    net.seen["r2.eth1"].append((left[0] + MS, left[1]))
    net.send(10 * MS, UP, udp(5000, 53, b"same"), **same, lost_at="r2")
    net.send(20 * MS, UP, udp(5000, 53, b"same"), **same)
    found = crossed(net, tmp_path, "select sent_ns, lost from hops where \"from\" = 'r2' order by sent_ns")
    assert found == [(2 * MS, False), (12 * MS, True), (22 * MS, False)]


def test_of_equal_packets_under_way_at_once_the_usual_delay_tells_and_the_hop_is_ambiguous(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 1, 1, ACK, b"x"), hop_ns=5 * MS)  # the usual delay
    same = {"proto": 17, "ident": 0, "hop_ns": 5 * MS}
    net.send(50 * MS, UP, udp(5000, 53, b"same"), **same, lost_at="r1")
    net.send(52 * MS, UP, udp(5000, 53, b"same"), **same)
    query = "select sent_ns, delay_ns, lost, ambiguous from hops where \"from\" = 'r1' order by sent_ns"
    assert crossed(net, tmp_path, query) == [
        (0, 5 * MS, False, False),
        (50 * MS, None, True, False),
        (52 * MS, 5 * MS, False, True),
    ]


def test_fragments_of_one_packet_are_told_apart(tmp_path):
    net = Network()
    (place,) = [each for each in points(net.job) if each.link == "c1--r1"]
    (onward,) = [each for each in points(net.job) if each.link == "r1--ix"]
    for number, (field, size) in enumerate([(0x2000, 1480), (0x2000 | 185, 1480), (370, 40)]):
        whole = bytearray(ipv4(b"\xaa" * size, "10.0.0.0", "10.0.4.1", 17, ident=7))
        whole[6:8] = field.to_bytes(2)
        for at, here, into in ((0, place, place.peer_mac), (2 * MS, onward, onward.peer_mac)):
            if at and number == 1:
                continue  # the middle one is lost
            frame = ethernet(bytes(whole), here.mac.hex(), into.hex())
            net.seen[here.name].append((EPOCH_NS + number + at, frame))
    found = crossed(
        net, tmp_path, "select sent_ns, delay_ns from hops where \"from\" = 'r1' order by sent_ns"
    )
    assert found == [(0, 2 * MS), (1, None), (2, 2 * MS)]


def test_one_node_after_another_with_captures_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("testbed.measure.hops.ROWS", 1)
    monkeypatch.setattr("testbed.measure.hops.MOST", 7)
    net = Network()
    for number in range(300):
        at = number // 40 * MS  # forty in one instant
        net.send(
            at, UP, tcp(4000, 443, number, 1, ACK, b"x"), lost_at="r2" if number % 10 == 3 else "", hop_ns=0
        )
    assert crossed(net, tmp_path, "select count(*) filter (lost), count(*) from hops") == [(30, 900)]


def test_packets_for_the_node_itself_and_for_groups_are_no_hops(tmp_path):
    net = Network()
    net.send(0, "c1 r1", tcp(4000, 179, 1, 1, ACK, b"x"))
    net.send(0, "r1 ix r2", tcp(179, 4000, 1, 1, ACK, b"y"))
    (place,) = [name for name in net.seen if name.startswith("c1.")]
    packet = net.seen[place][0]
    macs = packet[1][6:12].hex(), packet[1][:6].hex()
    for target in ("224.0.0.5", "255.255.255.255", "192.0.2.1"):
        net.seen[place].append((packet[0] + 5, ethernet(ipv4(bytes(8), "10.0.0.0", target, 89), *macs)))
    net.seen[place].append((packet[0] + 6, ethernet(bytes(28), *macs, kind=0x0806)))
    found = crossed(net, tmp_path, 'select "from", "to" from hops')
    assert found == [("ix", "r2")]  # only the switch is on the way


def test_a_frame_flooded_by_the_switch_is_lost_nowhere(tmp_path):
    net = Network()
    packet = ipv4(tcp(4000, 443, 1, 1, ACK, b"x"), "10.0.0.0", "10.0.4.1", 6)
    net.seen["r2.eth0"].append((EPOCH_NS, ethernet(packet, mac(77), mac(99))))  # for a third port's station
    assert crossed(net, tmp_path) == []


def test_hops_count_what_the_captures_hold(tmp_path):
    net = Network()
    for number in range(200):
        path, ports = (UP, (4000, 443)) if number % 3 else (DOWN, (443, 4000))
        net.send(
            number * MS, path, tcp(*ports, number, 1, ACK, b"x"), lost_at="r2" if number % 20 == 7 else ""
        )
    lost, passed = crossed(
        net, tmp_path, "select count(*) filter (lost), count(*) filter (not lost) from hops"
    )[0]
    assert lost == 10
    assert passed == sum(len(seen) for seen in net.seen.values()) - 200
