"""TCP of the guest does what TCP does, judged on the packets of flows over links that are known."""

import dataclasses
import itertools
import math
import statistics

import pytest
from rows import MS, WIRE, Row, S, run

from testbed.job import Fault, Loss, Shape

SEGMENT = 1448  # bytes of payload: 1500 less IPv4 20, TCP 20 and timestamps 12
# Loss, segments sent (some 30, 100 and 200 losses: the mean of five flows is then known to 5, 3 and 2 %), and
# the sender's buffer, several times the window that the loss allows, so that it never is the limit.
RENO_RTT_NS, SEEDS = 50 * MS, 5
RENO = {1e-4: (300_000, 1 << 21), 1e-3: (100_000, 1 << 19), 1e-2: (20_000, 1 << 18)}
RENO_STEADY_NS = 10 * S  # slow start, and the halvings from where it went too far, are over

BOTTLENECK_BPS, PATH_RTT_NS = 50_000_000, 40 * MS
FRAME = 1514
BDP_PACKETS = -(-BOTTLENECK_BPS * PATH_RTT_NS // (8 * S * FRAME))
BULK_AFTER_NS, BULK_NS, BULK_STEADY_NS = 1 * S, 35 * S, 8 * S
BULK = [(congestion, depth) for congestion in ("cubic", "bbr") for depth in (1, 4)]

HOLE_RTT_NS, HOLE_AT_NS, HOLE_NS = 50 * MS, 5 * S, 40 * S

pytestmark = pytest.mark.guest


def flow(name, there, back, sending, *, quickack=False, sysctls=None, captured=()):
    """One TCP connection over the link under test, which is not the sender's own.

    That has a rate, for RACK orders segments by when they were sent, to a microsecond: where many leave in
    one instant, it takes some for lost that are not.
    """
    return Row(
        name=name, hops=(WIRE, (there, back)), captured=captured,
        sender="traffic:stream", sending={"after_ns": 2 * S, "sysctls": sysctls or {}, **sending},
        receiver="traffic:swallow",
        receiving={"take_bytes": 1 << 20, "sysctls": sysctls or {}, "quickack": quickack},
    )  # fmt: skip


def reno_row(loss, number):
    """A flow of the kind that the equation models.

    Loss is in the data's direction only, and every segment is acknowledged (b = 1). SACK is off, and with
    it RACK and tail loss probes: the model's sender knows of a loss by three duplicate
    acknowledgements or by its timer.
    """
    segments, buffer_bytes = RENO[loss]
    way = Shape(delay_ns=RENO_RTT_NS // 2, queue_packets=100_000)
    lossy = Shape(delay_ns=RENO_RTT_NS // 2, queue_packets=100_000, loss=Loss(parameters=(loss,)))
    sending = {"congestion": "reno", "buffer_bytes": buffer_bytes, "bytes": segments * SEGMENT}
    return flow(
        f"reno-{number}-{loss:g}", lossy, way, sending,
        quickack=True, sysctls={"tcp_sack": "0"}, captured=(0,),
    )  # fmt: skip


def bulk_row(congestion, depth):
    there = Shape(rate_bps=BOTTLENECK_BPS, delay_ns=PATH_RTT_NS // 2, queue_packets=depth * BDP_PACKETS)
    back = Shape(delay_ns=PATH_RTT_NS // 2)
    sending = {"congestion": congestion, "buffer_bytes": 1 << 22, "lasts_ns": BULK_NS}
    return flow(f"{congestion}-{depth}", there, back, sending)


def hole_row():
    """A flow whose window its sender's buffer keeps the same, so that its round trips are all alike."""
    way = Shape(delay_ns=HOLE_RTT_NS // 2)
    sending = {"congestion": "cubic", "buffer_bytes": 1 << 16, "lasts_ns": HOLE_AT_NS + HOLE_NS}
    return flow("hole", way, way, sending)


@pytest.fixture(scope="module")
def reno(tmp_path_factory):
    rows = [reno_row(loss, number) for loss in RENO for number in range(SEEDS)]
    return run("reno", rows, tmp_path_factory.mktemp("reno"), lasts_ns=180 * S)


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    rows = [*(bulk_row(*each) for each in BULK), hole_row()]
    link, all_lost = hole_row().link(1), dataclasses.asdict(Loss(parameters=(1.0,)))
    hole = Fault(
        id=1, kind="link-impair", at_ns=HOLE_AT_NS, lasts_ns=HOLE_NS, target=link,
        source="testbed.faults.link_impair:LinkImpair", parameters={"link": link, "loss": all_lost},
    )  # fmt: skip
    lasts_ns = HOLE_AT_NS + HOLE_NS + 1 * S
    return run("flows", rows, tmp_path_factory.mktemp("flows"), lasts_ns=lasts_ns, faults=[hole])


def pftk_per_s(p, rtt_s, timeout_s, b=1):
    """Segments a second by the equation of Padhye, Firoiu, Towsley and Kurose (SIGCOMM 1998).

    The full model with timeouts, whose window the receiver does not limit.
    """
    unlost = 1 - p
    window = (2 + b) / (3 * b) + math.sqrt(8 * unlost / (3 * b * p) + ((2 + b) / (3 * b)) ** 2)
    three = 1 - unlost**3
    by_timer = min(
        1.0, three * (1 + unlost**3 * (1 - unlost ** (window - 3))) / (1 - unlost**window)
    )  # the share of losses that end in a timeout
    backoff = 1 + p + 2 * p**2 + 4 * p**3 + 8 * p**4 + 16 * p**5 + 32 * p**6
    segments = unlost / p + window + by_timer / unlost
    return segments / (rtt_s * (b / 2 * window + 1) + by_timer * timeout_s * backoff / unlost)


def sent(tables, row):
    """(time, sequence number, bytes) of every data segment that the row's sender sent."""
    return tables.sql(
        """select t_ns, tcp_seq, tcp_len from packets
           where link = ? and proto = 'tcp' and direction = 'out' and tcp_len > 0 order by t_ns""",
        row.link(0),
    )  # fmt: skip


def acknowledgements(tables, row):
    """(time, acknowledgement number) of what the row's sender heard, the handshake apart."""
    return tables.sql(
        """select t_ns, tcp_ack from packets
           where link = ? and proto = 'tcp' and direction = 'in' and tcp_flags & 2 = 0 order by t_ns""",
        row.link(0),
    )  # fmt: skip


@pytest.mark.parametrize("p", [1e-4, 1e-3, 1e-2])
def test_the_equation_agrees_with_its_own_approximation(p):
    """The one the paper gives for small p; it neglects what is of the order of one segment a window."""
    rtt_s, timeout_s = 0.05, 0.25
    lost = rtt_s * math.sqrt(2 * p / 3) + timeout_s * min(1, 3 * math.sqrt(3 * p / 8)) * p * (1 + 32 * p**2)
    assert pftk_per_s(p, rtt_s, timeout_s) == pytest.approx(1 / lost, rel=0.12)


@pytest.mark.parametrize("p", RENO)
def test_reno_keeps_to_the_equation_of_padhye_and_others(reno, p):
    # Linux: RTO = SRTT + max(4 RTTVAR, 200 ms), tcp_rto_min of ip-sysctl; the round trips are all alike
    timeout_ns = RENO_RTT_NS + 200 * MS
    ratios = []
    for number in range(SEEDS):
        times = [t_ns for t_ns, _, _ in sent(reno, reno_row(p, number))]
        steady = [t_ns for t_ns in times if t_ns >= times[0] + RENO_STEADY_NS]
        rate = (len(steady) - 1) / ((steady[-1] - steady[0]) / S)
        ratios.append(rate / pftk_per_s(p, RENO_RTT_NS / S, timeout_ns / S))
    assert 0.85 <= statistics.mean(ratios) <= 1.20, ratios


@pytest.mark.parametrize("p", RENO)
def test_the_flows_of_the_equation_are_as_it_has_them(reno, p):
    """Round trips of 50 ms, an acknowledgement for each segment, and the loss that was asked for."""
    segments = lost = 0
    for number in range(SEEDS):
        row = reno_row(p, number)
        data, heard = len(sent(reno, row)), len(acknowledgements(reno, row))
        segments += data
        lost += reno.scalar(
            "select max(drops) from links where link = ? and node = ?", row.link(1), row.node(1)
        )
        assert 0.98 * (1 - p) * data <= heard <= 1.02 * data
        rtt_ns = reno.scalar("select rtt_p50_ns from flows where link = ? and proto = 'tcp'", row.link(0))
        assert rtt_ns == pytest.approx(RENO_RTT_NS, rel=0.01)
    assert lost == pytest.approx(p * segments, abs=2.58 * math.sqrt(p * (1 - p) * segments))


@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_a_flow_fills_a_link_with_a_queue_of_one_bdp(flows, congestion):
    row = bulk_row(congestion, 1)
    first_ns = sent(flows, row)[0][0] + BULK_STEADY_NS
    last_ns = sent(flows, row)[-1][0]
    carried = flows.scalar(
        """select sum(length) from packets where link = ? and direction = 'out' and tcp_len > 0
           and not retransmission and t_ns between ? and ?""",
        row.link(1), first_ns, last_ns,
    )  # fmt: skip
    assert last_ns - first_ns > 20 * S
    assert carried * 8 * S / (last_ns - first_ns) >= 0.95 * BOTTLENECK_BPS


def test_bbr_leaves_less_than_half_of_the_queue_that_cubic_does(flows):
    assert mean_queue_ns(flows, "bbr") < mean_queue_ns(flows, "cubic") / 2


def mean_queue_ns(flows, congestion):
    """How long a packet waits in a queue of four times the BDP, in the mean, after slow start."""
    row = bulk_row(congestion, 4)
    configured = PATH_RTT_NS // 2 + FRAME * 8 * S // BOTTLENECK_BPS
    waited = flows.scalar(
        """select avg(delay_ns) from hops where link = ? and "from" = ? and not lost and sent_ns > ?""",
        row.link(1), row.node(1), sent(flows, row)[0][0] + BULK_STEADY_NS,
    )  # fmt: skip
    return waited - configured


@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_the_initial_window_is_ten_segments(flows, congestion):
    """RFC 6928: ten segments leave before the first acknowledgement of any of them comes."""
    row = bulk_row(congestion, 1)
    start = sent(flows, row)[0][1]
    answered = next(t_ns for t_ns, ack in acknowledgements(flows, row) if 0 < (ack - start) % 2**32 < 2**31)
    assert [size for t_ns, _, size in sent(flows, row) if t_ns < answered] == [SEGMENT] * 10


@pytest.fixture(scope="module")
def silence(flows):
    """(time, sequence number, bytes) of what is sent into the hole when nothing is heard any more."""
    row = hole_row()
    heard = [(t_ns, ack) for t_ns, ack in acknowledgements(flows, row) if t_ns < HOLE_AT_NS + HOLE_NS]
    last_ns, last_ack = heard[-1]
    assert HOLE_AT_NS <= last_ns <= HOLE_AT_NS + HOLE_RTT_NS
    quiet_ns = last_ns + HOLE_RTT_NS  # what the last acknowledgement let out has left long before
    before = [each for each in sent(flows, row) if each[0] <= quiet_ns]
    after = [each for each in sent(flows, row) if quiet_ns < each[0] < HOLE_AT_NS + HOLE_NS]
    return before, after, last_ack


def test_a_tail_loss_probe_comes_first(silence):
    """RFC 8985, section 7.2: after 2 SRTT; Linux adds 2 ms, and its timers round up to 8 ms there."""
    before, after, last_ack = silence
    assert 2 * HOLE_RTT_NS <= after[0][0] - before[-1][0] <= 2 * HOLE_RTT_NS + 10 * MS
    assert after[0][1] == before[-1][1] != last_ack  # the last segment again, and not the first that lacks


def test_timeouts_follow_the_probe_and_double(silence):
    """RFC 6298, sections 2 and 5: SRTT + 4 RTTVAR, which Linux has at 200 ms at least, then twice that…

    Each is held against its own nominal time: Linux rounds its timers up, to steps of 8, 64 or 512 ms the
    farther they are, so that the ratio of two has the roundings of both.
    """
    _, after, last_ack = silence
    assert {sequence for _, sequence, _ in after[1:]} == {last_ack}
    gaps_ns = [later[0] - earlier[0] for earlier, later in itertools.pairwise(after)]
    assert len(gaps_ns) >= 6
    for doublings, gap_ns in enumerate(gaps_ns):
        assert gap_ns == pytest.approx((HOLE_RTT_NS + 200 * MS) << doublings, rel=0.05)
