"""The links that are measured against what they were configured as, and what is measured of them.

Each finding is a number that packets showed, with the range it has to lie in. The tests want them on the
virtual clock; benchmarks/fidelity.py prints them on either, and on the wall clock the ranges are wider,
for a machine that does something else is late.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import MS, PLAIN, WIRE, Row, S

from testbed import traces
from testbed.job import Loss, Shape
from testbed.measure.pcap import Pcap
from testbed.measure.points import file_of, points

FRAME = 1514
TRACE = Path(__file__).parents[2] / "shared" / "data" / "traces" / "ATT-LTE-driving-2016.down"
Z99, Z999 = 2.5758293035489004, 3.2905267314919255  # the normal distribution's 99.5 % and 99.95 % quantiles

SIZES = (64, 98, 590, 1000, FRAME)
EXACT = (
    Shape(rate_bps=20_000_000, delay_ns=10 * MS, queue_packets=100),
    Shape(rate_bps=5_000_000, delay_ns=3 * MS, queue_packets=100),
)
RATE = Shape(rate_bps=20_000_000, delay_ns=1 * MS, queue_packets=100_000)
QUEUE_PACKETS = Shape(rate_bps=10_000_000, delay_ns=1 * MS, queue_packets=20)
QUEUE_BYTES = Shape(rate_bps=10_000_000, delay_ns=1 * MS, queue_packets=None, queue_bytes=30_000)
LOSS = Shape(delay_ns=1 * MS, loss=Loss(parameters=(0.01,)))
# Bursts of 4 in the mean, one in 24 packets; of 100,000 packets their mean is known to 1.3 %.
GILBERT_ELLIOTT = Shape(
    delay_ns=1 * MS, loss=Loss(model="gilbert-elliott", parameters=(0.05, 0.25, 1.0, 0.0))
)
FOUR_STATES = Shape(delay_ns=1 * MS, loss=Loss(model="4-state", parameters=(0.02, 0.2, 0.2, 0.4, 0.01)))
DUPLICATE = Shape(delay_ns=1 * MS, duplicate=0.01)
REORDER = Shape(delay_ns=10 * MS, reorder=0.05)
CORRUPT = Shape(delay_ns=1 * MS, corrupt=0.01)
DISTRIBUTIONS = ("uniform", "normal", "pareto", "paretonormal")
JITTER_NS = 500_000
CROWDED = Shape(delay_ns=10 * MS, jitter_ns=1 * MS, jitter_distribution="normal")
FOLLOWED = Shape(trace="lte", queue_packets=100_000)
AQMS = {
    "fq_codel": {}, "codel": {}, "pie": {}, "cake": {},
    "red": {"min": 30_000, "max": 90_000, "probability": 0.1},
}  # fmt: skip
AQM_RATE_BPS, AQM_PACKETS = 10_000_000, 1_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A row and how long its traffic lasts."""

    row: Row
    lasts_ns: int


def _datagrams(name, shape, lasts_ns, **sending):
    row = Row(
        name=name, hops=(WIRE, (shape, PLAIN)), sender="traffic:send", sending=sending,
        receiver="traffic:sink",
    )  # fmt: skip
    return Trial(row=row, lasts_ns=lasts_ns)


def _both_ways():
    sending = {"sizes": SIZES, "count": 20, "every_ns": 20 * MS}
    row = Row(
        name="exact", hops=(WIRE, EXACT, tuple(reversed(WIRE))), sender="traffic:send", sending=sending,
        receiver="traffic:send", receiving=sending,
    )  # fmt: skip
    return Trial(row=row, lasts_ns=3 * S)


def _managed(aqm, *, ecn):
    there = Shape(
        rate_bps=AQM_RATE_BPS, delay_ns=20 * MS, queue_packets=AQM_PACKETS, aqm=aqm, aqm_options=AQMS[aqm],
        ecn=ecn or aqm == "cake",
    )  # fmt: skip
    sysctls = {"tcp_ecn": str(int(ecn))}
    row = Row(
        name=f"{aqm.replace('_', '-')}-{'marks' if ecn else 'drops'}",
        hops=(WIRE, (there, Shape(delay_ns=20 * MS))),
        sender="traffic:stream",
        sending={"congestion": "cubic", "buffer_bytes": 1 << 22, "lasts_ns": 10 * S, "sysctls": sysctls},
        receiver="traffic:swallow", receiving={"take_bytes": 1 << 18, "sysctls": sysctls},
    )  # fmt: skip
    return Trial(row=row, lasts_ns=12 * S)


def _many(name, shape, count):
    """Small packets, some at a time: it does not matter when they go, only how many."""
    return _datagrams(
        name, shape, count * 200_000 + 2 * S, sizes=(128,), count=count, burst=20, every_ns=4 * MS
    )


def _jitter(name):
    shape = Shape(delay_ns=10 * MS, jitter_ns=JITTER_NS, jitter_distribution=name)
    # so far apart that the next never has to wait for the one before
    return _datagrams(f"jitter-{name}", shape, 26 * S, sizes=(128,), count=6_000, every_ns=4 * MS)


# What one machine can do at a time on the wall clock without being late itself.
STAGES = (
    (
        _both_ways(),
        _datagrams("queue-packets", QUEUE_PACKETS, 1 * S, sizes=(FRAME,), count=50, burst=50, every_ns=0),
        _datagrams("queue-bytes", QUEUE_BYTES, 1 * S, sizes=(1000,), count=60, burst=60, every_ns=0),
    ),
    # more than the rate, so that something always waits
    (_datagrams("rate", RATE, 14 * S, sizes=(FRAME,), count=20_000, burst=200, every_ns=100 * MS),),
    (_many("loss", LOSS, 100_000),),
    (_many("gilbert-elliott", GILBERT_ELLIOTT, 100_000),),
    (_many("four-states", FOUR_STATES, 100_000),),
    (_many("duplicate", DUPLICATE, 50_000),),
    (_many("reorder", REORDER, 50_000),),
    (_many("corrupt", CORRUPT, 50_000),),
    tuple(_jitter(name) for name in DISTRIBUTIONS),
    (_datagrams("crowded", CROWDED, 1 * S, sizes=(128,), count=5_000, burst=5, every_ns=100_000),),
    *(tuple(_managed(aqm, ecn=ecn) for aqm in AQMS) for ecn in (False, True)),
    (_datagrams("trace", FOLLOWED, 25 * S, sizes=(FRAME,), count=15_000, burst=3_000, every_ns=1 * S),),
)
TRIALS = {trial.row.name: trial for stage in STAGES for trial in stage}


def placed(clock, *, trace):
    """(rows, how long they take): on the virtual clock all at once, on the wall clock stage by stage."""
    found, lasts_ns = [], 0
    after_ns = 2 * S if clock == "virtual" else 10 * S  # when everything has started
    for stage in STAGES:
        for row in (trial.row for trial in stage if trace or trial.row.name != "trace"):
            sending = {**row.sending, "after_ns": after_ns}
            receiving = {**row.receiving, "after_ns": after_ns}
            found.append(dataclasses.replace(row, sending=sending, receiving=receiving))
        lasts_ns = max(lasts_ns, after_ns + max(trial.lasts_ns for trial in stage))
        if clock == "wall":
            after_ns = lasts_ns
    return found, lasts_ns


def job_traces():
    """The traces of the job; none where the real one is absent."""
    return {"lte": traces.read(TRACE)} if TRACE.exists() else {}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number and the range it has to lie in."""

    what: str
    measured: float
    low: float
    high: float
    unit: str = ""

    @property
    def holds(self):
        return self.low <= self.measured <= self.high


FINDINGS: dict[str, Callable] = {}


def _finding(function):
    FINDINGS[function.__name__.strip("_")] = function
    return function


def _within(what, measured, due, share, unit=""):
    """A number that is to be as configured, but for a share of it."""
    return Finding(what=what, measured=measured, low=due * (1 - share), high=due * (1 + share), unit=unit)


def binomial(what, hits, of, share):
    """A count that lies in this range 99 times in 100, at least 0.5 % of it on either side."""
    at = np.arange(of + 1)
    logs = np.array([math.lgamma(each + 1) for each in range(of + 1)])
    mass = np.exp(logs[of] - logs[at] - logs[of - at] + at * math.log(share) + (of - at) * math.log1p(-share))
    below = np.cumsum(mass)
    low, high = int(np.searchsorted(below, 0.005)), int(np.searchsorted(below, 0.995))
    return Finding(what=what, measured=hits, low=low, high=high, unit=f"of {of:,}")


def _crossed(tables, name, *, hop=1, back=False):
    """The hops of a row's datagrams over one of its links, in the order in which they came to it."""
    row = TRIALS[name].row
    found = tables.frame(
        """select sent_ns, received_ns, delay_ns, lost from hops
           where link = ? and "from" = ? and flow_id is not null order by sent_ns""",
        row.link(hop), row.node(hop + 1 if back else hop),
    )  # fmt: skip
    return found[1:]  # the first had the neighbours' addresses resolved


def _most(errors, clock):
    """The largest error; on the wall clock what 95 % of them do not exceed."""
    return float(np.quantile(np.abs(errors), 1.0 if clock == "virtual" else 0.95))


def _one_way(tables, *, back):
    configured = EXACT[back]
    found = _crossed(tables, "exact", back=back)
    due_ns = [configured.delay_ns + size * 8 * S // configured.rate_bps for size in SIZES for _ in range(20)]
    assert len(found) == len(due_ns)
    clock = tables.job.clock
    return Finding(
        what=f"one-way delay, {SIZES[0]} to {SIZES[-1]} bytes, {'back' if back else 'forth'}: error",
        measured=_most(found["delay_ns"].to_numpy() - due_ns, clock),
        low=0, high=1_000 if clock == "virtual" else 1 * MS, unit="ns",
    )  # fmt: skip


@_finding
def captures_are_whole(tables):
    missed = tables.scalar("select sum(drops) from captures")
    return Finding(what="packets that the captures missed", measured=int(missed), low=0, high=0)


@_finding
def one_way_delay(tables):
    return _one_way(tables, back=False)


@_finding
def one_way_delay_of_the_way_back(tables):
    return _one_way(tables, back=True)


@_finding
def rate_over_ten_seconds(tables):
    received_ns = _crossed(tables, "rate")["received_ns"].to_numpy()
    window = (received_ns > received_ns[0]) & (received_ns <= received_ns[0] + 10 * S)
    share = 0.001 if tables.job.clock == "virtual" else 0.01
    return _within("rate over 10 s", int(window.sum()) * FRAME * 8 / 10, RATE.rate_bps, share, "bit/s")


def _first_dropped(tables, name, room):
    lost = _crossed(tables, name)["lost"].to_numpy()
    late = 0 if tables.job.clock == "virtual" else 2  # which have left before the burst is over
    first = int(np.argmax(lost)) + 1 if lost.any() else len(lost) + 1
    return Finding(
        what=f"first packet that a queue for {room} drops", measured=first,
        low=room + 1, high=room + 1 + late,
    )  # fmt: skip


@_finding
def queue_in_packets(tables):
    return _first_dropped(tables, "queue-packets", QUEUE_PACKETS.queue_packets)


@_finding
def queue_in_bytes(tables):
    return _first_dropped(tables, "queue-bytes", QUEUE_BYTES.queue_bytes // 1000)


@_finding
def random_loss(tables):
    lost = _crossed(tables, "loss")["lost"]
    return binomial("random loss of 1 %", int(lost.sum()), len(lost), LOSS.loss.parameters[0])


@_finding
def losses_are_those_the_kernel_counts(tables):
    row = TRIALS["loss"].row
    counted = tables.scalar(
        "select max(drops) from links where link = ? and node = ?", row.link(1), row.node(1)
    )
    missing = tables.scalar(
        """select count(*) from hops where link = ? and "from" = ? and lost""", row.link(1), row.node(1)
    )
    return Finding(
        what="packets missing less those the kernel counts", measured=missing - counted, low=0, high=0
    )


def _bursts(lost):
    """The lengths of the runs of packets lost one after the other."""
    return [len(list(run)) for gone, run in itertools.groupby(lost.to_list()) if gone]


@_finding
def burst_length_of_gilbert_elliott(tables):
    bursts = _bursts(_crossed(tables, "gilbert-elliott")["lost"])
    _, back, _, _ = GILBERT_ELLIOTT.loss.parameters
    return _within("Gilbert-Elliott: mean burst", float(np.mean(bursts)), 1 / back, 0.05, "packets")


@_finding
def loss_of_gilbert_elliott(tables):
    into, back, _, _ = GILBERT_ELLIOTT.loss.parameters
    lost = _crossed(tables, "gilbert-elliott")["lost"]
    return _within("Gilbert-Elliott: loss", lost.mean(), into / (into + back), 0.05)


def share_lost(p13, p31, p32, p23, p14):
    """The shares of the states in which packets are lost (3 and 4), from what flows in and out of each."""
    third, fourth = p13 / p31, p14  # as many times as the first state's share
    second = third * p32 / p23
    return (third + fourth) / (1 + second + third + fourth)


@_finding
def loss_of_four_states(tables):
    lost = _crossed(tables, "four-states")["lost"]
    return _within("4-state: loss", lost.mean(), share_lost(*FOUR_STATES.loss.parameters), 0.05)


@_finding
def duplicates(tables):
    row = TRIALS["duplicate"].row
    came, went = (
        tables.scalar("select count(*) from packets where link = ? and proto = 'udp'", row.link(hop))
        for hop in (0, 1)
    )
    return binomial("duplicates of 1 %", went - came, came, DUPLICATE.duplicate)


@_finding
def reordered(tables):
    delays_ns = _crossed(tables, "reorder")["delay_ns"].to_numpy()
    return binomial(
        "reordered of 5 %", int((delays_ns < REORDER.delay_ns // 2).sum()), len(delays_ns), REORDER.reorder
    )


@_finding
def corrupted(tables):
    flips = _flipped_bits(tables, TRIALS["corrupt"].row)
    return binomial(
        "packets of 1 % with one bit flipped", int((flips == 1).sum()), len(flips), CORRUPT.corrupt
    )


@_finding
def corruption_flips_one_bit(tables):
    flips = _flipped_bits(tables, TRIALS["corrupt"].row)
    return Finding(what="most bits flipped in a packet", measured=int(flips.max()), low=1, high=1)


def _flipped_bits(tables, row):
    """How many bits of each datagram are others behind the link than a router would have sent."""
    came, went = (_frames(tables, row.link(hop)) for hop in (0, 1))
    assert len(came) == len(went)
    point = next(each for each in points(tables.job) if each.link == row.link(1))
    due = came.copy()
    due[:, :12] = np.frombuffer(point.peer_mac + point.mac, np.uint8)
    due[:, 22] -= 1  # time to live, and the checksum with it (RFC 1624)
    checksum = (came[:, 24].astype(np.uint32) << 8 | came[:, 25]) + 0x100
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    due[:, 24], due[:, 25] = checksum % 0xFFFF >> 8, checksum % 0xFFFF & 0xFF
    return np.bitwise_count(due ^ went).sum(axis=1)


def _frames(tables, link):
    """The datagrams seen on a link, each a line of bytes."""
    size = TRIALS["corrupt"].row.sending["sizes"][0]
    point = next(each for each in points(tables.job) if each.link == link)
    found = []
    for records in Pcap(file_of(tables.run, point)):
        whole = records.wire == size
        assert (records.captured[whole] == size).all()
        found.append(records.buffer[records.offsets[whole][:, None] + np.arange(size)])
    return np.concatenate(found)


def _jitter_findings(distribution):
    def mean(tables):
        delays_ns = _crossed(tables, f"jitter-{distribution}")["delay_ns"].to_numpy()
        within = Z999 * deviation_ns / math.sqrt(len(delays_ns))
        late = 0 if tables.job.clock == "virtual" else 1 * MS
        return Finding(
            what=f"{distribution} jitter: mean delay", measured=float(delays_ns.mean()),
            low=10 * MS - within, high=10 * MS + within + late, unit="ns",
        )  # fmt: skip

    def deviation(tables):
        """Its interval is wider the heavier the tails: Var(s) = s^2 (kurtosis - 1) / 4n, for large n."""
        delays_ns = _crossed(tables, f"jitter-{distribution}")["delay_ns"].to_numpy()
        kurtosis = float((((delays_ns - delays_ns.mean()) / delays_ns.std()) ** 4).mean())
        share = Z999 * math.sqrt((kurtosis - 1) / (4 * len(delays_ns)))
        share += 0 if tables.job.clock == "virtual" else 0.5
        return _within(
            f"{distribution} jitter: standard deviation", float(delays_ns.std()), deviation_ns, share, "ns"
        )

    # uniform jitter is the most that the delay varies either way, the others' its standard deviation
    deviation_ns = JITTER_NS / math.sqrt(3) if distribution == "uniform" else JITTER_NS
    for function in (mean, deviation):
        function.__name__ = f"{function.__name__}_of_{distribution}_jitter"
        _finding(function)


for _distribution in DISTRIBUTIONS:
    _jitter_findings(_distribution)


@_finding
def jitter_alone_does_not_reorder(tables):
    received_ns = _crossed(tables, "crowded")["received_ns"].to_numpy()
    return Finding(
        what="packets that others overtook by jitter alone", measured=int((np.diff(received_ns) < 0).sum()),
        low=0, high=0,
    )  # fmt: skip


@_finding
def trace_in_every_100_ms(tables):
    """Mahimahi's own check: as many packets as the trace has opportunities, while something always waits."""
    if "lte" not in tables.job.traces:
        return None
    trace = tables.job.traces["lte"]
    received_ns = _crossed(tables, "trace")["received_ns"].drop_nulls().to_numpy()
    first, last = -(-int(received_ns[0]) // (100 * MS)), int(received_ns[-1]) // (100 * MS)
    assert last - first >= 150
    bins = np.arange(first, last + 1) * 100 * MS
    due_ns = np.concatenate([np.array(trace.times_ns) + pass_ * trace.period_ns for pass_ in (0, 1)])
    difference = np.histogram(received_ns, bins)[0] - np.histogram(due_ns, bins)[0]
    clock = tables.job.clock
    return Finding(
        what="trace: packets too many or too few in 100 ms", measured=_most(difference, clock),
        low=0, high=1 if clock == "virtual" else 2,
    )  # fmt: skip


def _aqm_findings(aqm):
    name = aqm.replace("_", "-")
    drops, marks = f"{name}-drops", f"{name}-marks"

    def own_drops(tables):
        lost = int(_crossed(tables, drops)["lost"].sum())
        return Finding(what=f"{aqm}: packets dropped", measured=lost, low=1, high=math.inf)

    def room_left(tables):
        """Its drops are the management's own: the longest wait is shorter than that of a full queue."""
        most_ns = AQM_PACKETS * FRAME * 8 * S / AQM_RATE_BPS
        waited_ns = max(_crossed(tables, each)["delay_ns"].max() for each in (drops, marks)) - 20 * MS
        return Finding(what=f"{aqm}: longest wait", measured=waited_ns, low=0, high=0.9 * most_ns, unit="ns")

    def marked(tables):
        row = TRIALS[marks].row
        seen = tables.scalar(
            "select count(*) from packets where link = ? and direction = 'out' and ecn = 3", row.link(1)
        )
        return Finding(
            what=f"{aqm}: packets marked where both ends know ECN", measured=seen, low=1, high=math.inf
        )

    def counted(tables):
        link, sender = TRIALS[marks].row.link(1), TRIALS[marks].row.node(1)
        told, lost = tables.sql(
            "select max(marks), max(drops) from links where link = ? and node = ?", link, sender
        )[0]
        seen = tables.scalar(
            "select count(*) from packets where link = ? and direction = 'out' and ecn = 3", link
        )
        # what is marked may yet be dropped
        return Finding(what=f"{aqm}: packets counted as marked", measured=told, low=seen, high=seen + lost)

    def not_marked(tables):
        row = TRIALS[drops].row
        seen = tables.scalar("select count(*) from packets where link = ? and ecn = 3", row.link(1))
        return Finding(what=f"{aqm}: packets marked where they do not", measured=seen, low=0, high=0)

    for function in (own_drops, room_left, marked, counted, not_marked):
        function.__name__ = f"{function.__name__}_of_{aqm}"
        _finding(function)


for _aqm in AQMS:
    _aqm_findings(_aqm)
