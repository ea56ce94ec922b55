"""What links do to packets, measured in the guest against what was configured."""

import dataclasses
import itertools

import pytest

from testbed.job import Interface, Job, Link, Loss, Node, Process, Route, Shape
from testbed.measure import tables
from testbed.venues.guest import Guest

MS = 1_000_000
S = 1_000 * MS
SIZES = (64, 98, 590, 1000, 1514)
PLAIN = Shape(queue_packets=100_000)
CHAINS = {
    "exact": (
        Shape(rate_bps=20_000_000, delay_ns=10 * MS, queue_packets=100),
        Shape(rate_bps=5_000_000, delay_ns=3 * MS, queue_packets=100),
    ),
    "rate": (Shape(rate_bps=50_000_000, delay_ns=1 * MS, queue_packets=2_000), PLAIN),
    "queue": (Shape(rate_bps=10_000_000, delay_ns=1 * MS, queue_packets=20), PLAIN),
    "loss": (Shape(loss=Loss(parameters=(0.05,)), delay_ns=1 * MS), PLAIN),
    "jitter": (Shape(delay_ns=20 * MS, jitter_ns=4 * MS), PLAIN),
}
TRAFFIC = {
    "exact": {"sizes": SIZES, "count": 20, "every_ns": 20 * MS},
    "rate": {"sizes": (1514,), "count": 1_500, "every_ns": 0},
    "queue": {"sizes": (1514,), "count": 50, "every_ns": 0},
    "loss": {"sizes": (200,), "count": 20_000, "every_ns": 100_000},
    "jitter": {"sizes": (200,), "count": 1_000, "every_ns": 1 * MS},
}


def chain(number, name):
    """Four nodes in a row, s - x - y - d, with the link under test in the middle."""
    forward, backward = CHAINS[name]
    row = [f"{name}-{place}" for place in "sxyd"]
    nets = [f"10.{number}.{hop}" for hop in range(3)]
    interfaces = {node: [] for node in row}
    links = []
    for hop, (a, b) in enumerate(itertools.pairwise(row)):
        shapes = (forward, backward) if hop == 1 else (PLAIN, PLAIN)
        link = f"{a}--{b}"
        ends = []
        for side, (here, there) in enumerate(((a, b), (b, a))):
            interfaces[here].append(
                Interface(
                    name=f"eth{len(interfaces[here])}", link=link,
                    mac=f"02:00:{side:02x}:00:{number:02x}:{hop:02x}",
                    address=f"{nets[hop]}.{side}/31", peer=there, peer_address=f"{nets[hop]}.{1 - side}",
                    shape=shapes[side],
                )
            )  # fmt: skip
            ends.append(interfaces[here][-1].name)
        links.append(
            Link(
                name=link,
                a=a,
                a_interface=ends[0],
                b=b,
                b_interface=ends[1],
                a_to_b=shapes[0],
                b_to_a=shapes[1],
            )
        )
    first, last = f"{nets[0]}.0", f"{nets[2]}.1"
    ways = {
        row[0]: [("0.0.0.0/0", f"{nets[0]}.1")],
        row[1]: [(f"{nets[2]}.0/31", f"{nets[1]}.1")],
        row[2]: [(f"{nets[0]}.0/31", f"{nets[1]}.0")],
        row[3]: [("0.0.0.0/0", f"{nets[2]}.0")],
    }

    def sender(to):
        return Process(
            name="send", service="traffic:send", config={**TRAFFIC[name], "to": to, "after_ns": 8 * S}
        )

    receiver = Process(name="sink", service="traffic:sink")
    running = {row[0]: (sender(last), receiver), row[3]: (receiver,)}
    if name == "exact":
        running[row[3]] = (sender(first), receiver)
    nodes = [
        Node(
            name=node, role="client", address=interfaces[node][0].address.partition("/")[0], forwards=True,
            interfaces=tuple(interfaces[node]), routes=tuple(Route(prefix=p, via=v) for p, v in ways[node]),
            processes=running.get(node, ()),
        )
        for node in row
    ]  # fmt: skip
    return nodes, links


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    nodes, links = [], []
    for number, name in enumerate(CHAINS, start=1):
        more_nodes, more_links = chain(number, name)
        nodes += more_nodes
        links += more_links
    job = Job(
        scenario="links", topology="chains", seed=7, clock="virtual", duration_ns=12 * S,
        epoch_ns=1_767_225_600 * S, zone="cdn.example", nodes=tuple(nodes), links=tuple(links),
        captures=tuple(link.name for link in links),
    )  # fmt: skip
    run = tmp_path_factory.mktemp("links")
    (run / "job.json").write_text(job.dumps())
    Guest().run(job, run, lambda *_: None)
    tables.write(run)
    return tables.Tables(run)


def crossed(measured, chain_name, way="xy"):
    """(sent, received or None, frame length) of every UDP packet over the link under test."""
    a, b = (f"{chain_name}-{place}" for place in way)
    link = measured.job.link(f"{a}--{b}").name
    return measured.sql(
        """select sent_ns, received_ns, any_value(length) from hops join packets
           on packets.flow_id = hops.flow_id and packets.t_ns = hops.sent_ns
           where hops.link = ? and hops."from" = ? and proto = 'udp' and length > 60
           group by 1, 2 order by 1, 2""",
        link, a,
    )  # fmt: skip


pytestmark = pytest.mark.guest


@pytest.mark.parametrize(("way", "shape"), [("xy", 0), ("yx", 1)])
def test_delay_and_serialisation_are_exact_to_a_microsecond(measured, way, shape):
    configured = CHAINS["exact"][shape]
    packets = crossed(measured, "exact", way)
    assert len(packets) == len(SIZES) * 20
    assert {length for _, _, length in packets} == set(SIZES)
    for sent, received, length in packets:
        wanted = configured.delay_ns + length * 8 * S // configured.rate_bps
        assert abs(received - sent - wanted) <= 1_000


def test_the_rate_is_exact(measured):
    packets = crossed(measured, "rate")
    received = sorted(received for _, received, _ in packets)
    assert len(received) == 1_500
    rate_bps = (len(received) - 1) * 1514 * 8 * S / (received[-1] - received[0])
    assert rate_bps == pytest.approx(50_000_000, rel=1e-4)


def test_a_queue_of_n_packets_drops_the_next_one(measured):
    packets = crossed(measured, "queue")
    assert len(packets) == 50
    assert sum(received is not None for _, received, _ in packets) == 20
    assert all(received is not None for _, received, _ in packets[:20])


def test_loss_is_random_at_its_rate(measured):
    packets = crossed(measured, "loss")
    lost = sum(received is None for _, received, _ in packets)
    assert len(packets) == 20_000
    # binomial, 20,000 draws at 5 %: mean 1,000, standard deviation 30.8; 99.9 % lie within 3.29 of it
    assert abs(lost - 1_000) < 3.29 * 30.8
    counted = measured.scalar(
        "select max(drops) from links where link = 'loss-x--loss-y' and node = 'loss-x'"
    )
    assert counted == lost


def test_jitter_spreads_the_delay_and_keeps_the_order(measured):
    packets = crossed(measured, "jitter")
    delays = [received - sent for sent, received, _ in packets]
    assert min(delays) >= 16 * MS
    assert max(delays) <= 24 * MS + 1_000
    assert max(delays) - min(delays) > 6 * MS
    arrivals = [received for _, received, _ in packets]
    assert arrivals == sorted(arrivals)


def test_the_kernel_says_what_was_configured(measured):
    """Nothing was dropped on links without loss or overflow, and every packet was counted."""
    dropped = dict(measured.sql("select link, max(drops) from links group by link"))
    assert {link for link, drops in dropped.items() if drops} == {"loss-x--loss-y", "queue-x--queue-y"}
    assert dropped["queue-x--queue-y"] == 30


def test_no_packet_is_missing_from_the_captures(measured):
    from testbed.measure.tables import capture_drops

    assert set(capture_drops(measured.run).values()) == {0}
    assert dataclasses.asdict(measured.job)["captures"]
