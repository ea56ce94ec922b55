"""Frames over a pair of interfaces, one end of it shaped: a bench for lines and queues, run inside the guest.

`run` is a service: it does every experiment below in the namespace of its node and writes what came of
each to a file. All is one thread, so nothing moves on the virtual clock but while it sleeps.
"""

import dataclasses
import itertools
import json
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

from testbed import namespaces
from testbed.emulate import rtnetlink, shaping
from testbed.emulate.netlink import Netlink
from testbed.job import OUT, Interface, Loss, Shape, Trace

MS, S = 1_000_000, 1_000_000_000
HEADER = 14  # Ethernet's
SETTLED_NS = 50 * MS
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 35, 33, 32
_ANY_PROTOCOL, _PACKET_OUTGOING = 3, 4
PEER = 10_000  # what the number of the other end has more
_IPV4 = struct.Struct("!BBHHHBBH4s4s")


class Wire:
    """A pair of interfaces: what is sent into one comes out of the other, and is noted with its time."""

    numbers = itertools.count(100)

    def __init__(self, shape, seed=1, traces=None, start_ns=None):
        self.index = next(self.numbers)
        self.netlink = Netlink()
        self.netlink.ask(_pair(self.index, f"a{self.index}", f"b{self.index}"))
        self.netlink.ask(*shaping.requests(self.index, shape, seed, traces, start_ns))
        self.netlink.ask(rtnetlink.up(self.index), rtnetlink.up(self.index + PEER))
        self._into = self._open(f"a{self.index}", 0)
        self._out_of = self._open(f"b{self.index}", _ANY_PROTOCOL)
        time.sleep(SETTLED_NS / 1e9)  # links come up with a delay
        self.sent_ns = []

    def _open(self, name, protocol):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        opened.bind((name, protocol))
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 27)
        opened.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 27)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        opened.setblocking(False)
        return opened

    def reshape(self, shape, **said):
        """Give it another shape, as a fault does."""
        self.netlink.ask(*shaping.requests(self.index, shape, **said))

    def send(self, count, length, every_ns=0, ecn=0):
        """Send so many frames of so many bytes; they are numbered from the first on.

        In a burst the clock is not read, which would take 256 ns of the guest's time.
        """
        due = now = time.time_ns()
        for _ in range(count):
            if every_ns:
                wait_until(due)
                now = time.time_ns()
            address = bytes((10, 0, 0, 1))
            ip = _IPV4.pack(0x45, ecn, length - HEADER, 0, 0, 64, 253, 0, address, address)
            body = len(self.sent_ns).to_bytes(4) + ip
            self.sent_ns.append(now)
            # the number lies where a switch would look for addresses, and nobody here is one
            self._into.send((bytes(6) + body[:4] + b"\2\0" + b"\x08\0" + ip).ljust(length, b"\0"))
            due += every_ns

    def received(self):
        """(number, time, length, ECN bits, frame) of what has come out, in that order."""
        found = []
        while True:
            try:
                frame, control, _, address = self._out_of.recvmsg(10_000, 64)
            except BlockingIOError:
                return found
            seconds, ns = struct.unpack("=qq", control[0][2])
            if address[2] != _PACKET_OUTGOING:
                found.append(
                    (int.from_bytes(frame[6:10]), seconds * S + ns, len(frame), frame[15] & 3, frame)
                )

    def counters(self):
        """What `shaping` counts of it."""
        return shaping.counters(self.netlink)[self.index]


def wait_until(due_ns):
    """Sleep until a time, if it is yet to come."""
    if (ahead := due_ns - time.time_ns()) > 0:
        time.sleep(ahead / 1e9)


def _pair(index, name, peer):
    here = namespaces.current()
    ends = [
        Interface(name=each, link=name, mac=f"02:00:00:0{side}:{index >> 8:02x}:{index & 255:02x}", mtu=9000)
        for side, each in enumerate((name, peer))
    ]
    return rtnetlink.pair(*ends, (index, index + PEER), (here, here))


SIZES = (64, 65, 98, 590, 1000, 1514)
EXACT = Shape(rate_bps=20_000_000, delay_ns=10 * MS)


def exact():
    wire = Wire(EXACT)
    for length in SIZES:
        wire.send(5, length, every_ns=20 * MS)
        time.sleep(0.02)
    return [(time_ns - wire.sent_ns[number], length) for number, time_ns, length, _, _ in wire.received()]


QUEUES = (
    Shape(rate_bps=10_000_000, queue_packets=20),
    Shape(rate_bps=10_000_000, queue_packets=None, queue_bytes=20 * 1514 + 1513),
    Shape(rate_bps=10_000_000, queue_packets=1),
)


def queue():
    """Two bursts into each queue, the second when the first packet of the first is out by one ns."""
    found = []
    for shape in QUEUES:
        wire = Wire(shape)
        wire.send(25, 1514)
        time.sleep(0.1)
        found.append([number for number, *_ in wire.received()])
    return found


RATE = Shape(rate_bps=12_345_678, queue_packets=20_000)


def rate():
    """More than 10 s of full frames in one go."""
    wire = Wire(RATE)
    wire.send(10_250, 1514)
    time.sleep(10.2)
    return [time_ns for _, time_ns, *_ in wire.received()]


CHANGED = Shape(rate_bps=10_000_000, delay_ns=5 * MS, queue_packets=100)
CHANGES = ((20_100_001, 1_000_000), (100_000_007, 50_000_000))


def rate_change():
    """A burst, whose rate changes while it is sent, and which is told the same in between."""
    wire = Wire(CHANGED)
    wire.send(60, 1514)
    start = wire.sent_ns[0]
    rates = [(0, CHANGED.rate_bps)]
    shape = CHANGED
    for at_ns, rate_bps in CHANGES:
        wait_until(start + at_ns - 3 * MS)
        wire.reshape(shape)
        wait_until(start + at_ns)
        shape = dataclasses.replace(shape, rate_bps=rate_bps)
        rates.append((time.time_ns() - start, rate_bps))
        wire.reshape(shape)
    time.sleep(1)
    return rates, [(number, time_ns - start) for number, time_ns, *_ in wire.received()]


RATES = Trace(
    period_ns=100 * MS,
    times_ns=(0, 30 * MS, 40 * MS, 70 * MS),
    rates_bps=(8_000_000, 0, 24_000_000, 3_000_001),
)


def rate_trace():
    """More than three periods of full frames, from the middle of a period that has yet to begin."""
    start = time.time_ns() // S * S + 3 * S
    wire = Wire(Shape(trace="t", queue_packets=10_000), traces={"t": RATES}, start_ns=start)
    wait_until(start - 235 * MS)
    wire.send(400, 1514)
    time.sleep(1)
    return start, wire.sent_ns[0], [time_ns for _, time_ns, *_ in wire.received()]


def opportunities(config):
    """A real trace: 30 s of it with a queue that never empties, told again and again what it knows."""
    trace = Trace(period_ns=config["period_ns"], times_ns=tuple(config["times_ns"]))
    start = time.time_ns() // S * S + 2 * S
    shape = Shape(trace="t", queue_packets=100_000)
    wire = Wire(shape, traces={"t": trace})
    wire.reshape(shape, start_ns=start)
    wait_until(start - MS // 2)  # the trace is in ms: none is used before the start
    wire.send(sum(time_ns <= 31 * S for time_ns in trace.times_ns), 1514)
    for _ in range(3):
        time.sleep(7)
        wire.reshape(shape, traces={"t": trace}, start_ns=start)
    wait_until(start + 31 * S)
    wrong = shaping.mismatches(wire.netlink, {wire.index: shape}, {"t": trace})
    return start, [time_ns for _, time_ns, *_ in wire.received()], wrong


FEW = Trace(period_ns=50 * MS, times_ns=(10 * MS, 10 * MS, 20 * MS, 50 * MS))


def shared_opportunities():
    """Small packets share an opportunity, large ones take several, and those nobody used are lost."""
    start = time.time_ns() // S * S + 2 * S
    wire = Wire(Shape(trace="t"), traces={"t": FEW}, start_ns=start)
    wait_until(start + 25 * MS)
    wire.send(1, HEADER + 1501)  # 50 and 60 ms
    wire.send(4, HEADER + 1000)  # 1499 left at 60: two there, one more at the second of 60, one at 70
    wait_until(start + 105 * MS)
    wire.send(1, HEADER + 5000)  # 110, 110, 120, 150
    wait_until(start + 205 * MS)
    wire.send(1, HEADER + 20)  # 210
    time.sleep(0.1)
    return [(number, time_ns - start) for number, time_ns, *_ in wire.received()]


OVERLOADED = Shape(rate_bps=5_000_000, delay_ns=1 * MS, queue_packets=400)
MANAGED = {
    aqm: dataclasses.replace(OVERLOADED, aqm=aqm)
    for aqm in ("fifo", "fq_codel", "codel", "pie", "red", "cake")
}


def overload():
    """A tenth more than the line carries: (sent, delivered, marked on arrival, counters).

    PIE marks only while it would drop less than a tenth (RFC 8033, section 5.1): slowly past that.
    """
    found = {}
    for name, shape in MANAGED.items():
        for ecn in (False, True):
            wire = Wire(dataclasses.replace(shape, ecn=ecn))
            wire.send(4_000, 1514, every_ns=2_200_000, ecn=2 if ecn else 0)
            time.sleep(2)
            came = wire.received()
            found[f"{name} {ecn}"] = (
                4_000,
                len(came),
                sum(bits == 3 for *_, bits, _ in came),
                wire.counters(),
            )
    return found


OVERTAKING = Shape(rate_bps=1_000_000, delay_ns=50 * MS, reorder=0.3, queue_packets=1_000)


def overtaking():
    wire = Wire(OVERTAKING)
    wire.send(200, 1000, every_ns=9 * MS)
    time.sleep(1)
    return [(number, time_ns) for number, time_ns, *_ in wire.received()]


LOSSY = {
    "random": Shape(loss=Loss(parameters=(0.3,))),
    "gilbert-elliott": Shape(loss=Loss(model="gilbert-elliott", parameters=(0.02, 0.05, 1.0, 0.01))),
    "4-state": Shape(loss=Loss(model="4-state", parameters=(0.05, 0.1, 0.2, 0.3, 0.01))),
    "correlated": Shape(
        delay_ns=20 * MS, jitter_ns=4 * MS, jitter_correlation=0.5, jitter_distribution="pareto",
        loss=Loss(parameters=(0.1,)),
    ),
}  # fmt: skip


def changed_between():
    """Which packets pass, when nothing is changed, when the queue is, and with another seed."""
    found = {}
    for name, shape in LOSSY.items():
        found[name] = []
        for seed, queue_packets in ((7, 1000), (7, 900), (8, 1000)):
            wire = Wire(shape, seed)
            wire.send(500, 100)
            wire.reshape(dataclasses.replace(shape, queue_packets=queue_packets, corrupt=0.0))
            wire.send(500, 100)
            time.sleep(0.2)
            found[name].append([number for number, *_ in wire.received()])
    return found


def damage():
    """The bits that are flipped, with a seed, with it again after other draws, and with another seed."""
    found = []
    for seed in (7, 7, 8):
        os.urandom(1)
        wire = Wire(Shape(corrupt=0.5), seed)
        wire.send(100, 1000)
        time.sleep(0.1)
        found.append([frame.hex() for *_, frame in wire.received()])
        wire.send(100, 64)
    return found


def kinds_change():
    """From one kind of queue to the next: (delivered, drops, sentences) after each."""
    wire = Wire(MANAGED["fifo"])
    found = []
    for shape in (*MANAGED.values(), MANAGED["fifo"]):
        wire.reshape(shape)
        wire.send(10, 1514, every_ns=3 * MS)
        time.sleep(0.1)
        wrong = shaping.mismatches(wire.netlink, {wire.index: shape})
        found.append((len(wire.received()), wire.counters()["drops"], wrong))
    return found


COMBINED = {
    "plain": Shape(),
    "path": Shape(
        delay_ns=3 * MS + 1, jitter_ns=MS, jitter_distribution="normal", jitter_correlation=0.25,
        loss=Loss(parameters=(0.0123,)), duplicate=0.01, reorder=0.02, corrupt=0.03, rate_bps=123_456_789,
    ),
    "bursts": dataclasses.replace(LOSSY["gilbert-elliott"], queue_packets=None, queue_bytes=65_536),
    "states": dataclasses.replace(LOSSY["4-state"], jitter_ns=MS, jitter_distribution="paretonormal"),
    "rates": Shape(trace="rates"),
    "opportunities": Shape(trace="few"),
    "fq_codel": Shape(
        aqm="fq_codel", ecn=True, queue_packets=600,
        aqm_options={"target": 7 * MS, "interval": 70 * MS, "quantum": 300, "flows": 77, "ce_threshold": MS,
                     "memory_limit": 1_000_000, "drop_batch": 3},
    ),
    "codel": Shape(
        aqm="codel", queue_packets=70,
        aqm_options={"target": 1_234_567, "interval": 20 * MS, "ce_threshold": 3 * MS},
    ),
    "pie": Shape(
        aqm="pie", ecn=True, aqm_options={"target": 21 * MS, "tupdate": 16 * MS, "alpha": 3, "beta": 9}
    ),
    "red": Shape(
        aqm="red", ecn=True, rate_bps=5_000_000, queue_packets=None, queue_bytes=120_000,
        aqm_options={"min": 20_000, "max": 60_000, "avpkt": 900, "burst": 40, "probability": 0.05},
    ),
    "red by itself": Shape(aqm="red", queue_packets=100),
    "cake": Shape(aqm="cake", queue_packets=None, queue_bytes=2**20, aqm_options={"rtt": 40 * MS}),
}  # fmt: skip
TRACES = {"rates": RATES, "few": FEW}
BESIDES = {
    "path": {"delay_ns": 1, "jitter_ns": 2, "jitter_correlation": 0.5, "loss": None, "duplicate": 0.5,
             "reorder": 0.0, "corrupt": 0.5, "rate_bps": 1, "queue_packets": 7, "aqm": "codel"},
    "bursts": {"loss": dataclasses.replace(LOSSY["gilbert-elliott"].loss, parameters=(0.02, 0.05, 1.0, 0.02)),
               "queue_bytes": 65_535},
    "rates": {"trace": "few"},
    "opportunities": {"trace": "rates"},
    "fq_codel": {"ecn": False, "aqm_options": {}},
    "red": {"ecn": False, "queue_bytes": 119_999, "aqm_options": {"min": 20_000, "max": 60_001}},
    "cake": {"aqm_options": {}},
}  # fmt: skip


# The same again, and other things, in the words of tc's pages; the handles are ours.
BY_TC = {
    "fq_codel": "5: fq_codel limit 600 target 7ms interval 70ms quantum 300 flows 77 ce_threshold 1ms "
                "memory_limit 1000000 drop_batch 3 ecn",
    "codel": "6: codel limit 70 target 1235us interval 20ms ce_threshold 3ms",
    "pie": "7: pie limit 1000 target 21ms tupdate 16ms alpha 3 beta 9 ecn",
    "red": "8: red limit 120000 min 20000 max 60000 avpkt 900 burst 40 probability 0.05 bandwidth 5mbit ecn",
    "red by itself": "8: red limit 151400 avpkt 1000",
    "cake": "9: cake memlimit 1048576 rtt 40ms",
    "delay": "1: netem limit 1000000 delay 7ms",
    "bursts by tc": "1: netem limit 1000000 delay 2ms loss gemodel 2% 5% 100% 1%",
    "states by tc": "1: netem limit 1000000 delay 2ms loss state 5% 10% 20% 30% 1%",
}  # fmt: skip


def read_back():
    """The sentences about each shape as it was asked for, and after each change of it behind our back."""
    right, wrong = {}, {}
    for name, shape in COMBINED.items():
        wire = Wire(shape, traces=TRACES)
        right[name] = shaping.mismatches(wire.netlink, {wire.index: shape}, TRACES)
        for field, value in BESIDES.get(name, {}).items():
            other = dataclasses.replace(shape, **{field: value})
            asked = shaping.requests(wire.index, other, traces=TRACES)
            if (
                field == "aqm_options" and name == "fq_codel"
            ):  # it cannot have other flows than it was made with
                other = dataclasses.replace(other, aqm_options={"flows": 77})
                asked = shaping.requests(wire.index, other, traces=TRACES)
            wire.netlink.ask(*asked)
            wrong[f"{name} {field}"] = shaping.mismatches(wire.netlink, {wire.index: shape}, TRACES)
            wire.reshape(shape, traces=TRACES)
        right[f"{name} again"] = shaping.mismatches(wire.netlink, {wire.index: shape}, TRACES)
    wire = Wire(Shape(delay_ns=2 * MS))
    wrong["none"] = shaping.mismatches(wire.netlink, {1: Shape()})
    for name, words in BY_TC.items():
        where = "parent 2:1" if name in COMBINED else "root"
        command = f"tc qdisc replace dev a{wire.index} {where} handle {words}"
        subprocess.run(command.split(), check=True)
        shape = dataclasses.replace(COMBINED.get(name, Shape()), delay_ns=2 * MS)
        wrong[f"tc {name}"] = shaping.mismatches(wire.netlink, {wire.index: shape})
    lacks = shaping.lacking(COMBINED.values())
    with_more = [*shaping.lacking(()), *(kind for kind in ("sfq", "pfifo") if not _known(kind))]
    return right, wrong, lacks, with_more


def _known(kind):
    return shaping._has(Netlink(), kind)


def run(config):
    """Do all of it, and write `wires.json`."""
    found = {
        "exact": exact(),
        "queue": queue(),
        "rate": rate(),
        "rate_change": rate_change(),
        "rate_trace": rate_trace(),
        "opportunities": opportunities(config) if "times_ns" in config else None,
        "shared_opportunities": shared_opportunities(),
        "overload": overload(),
        "overtaking": overtaking(),
        "changed_between": changed_between(),
        "damage": damage(),
        "kinds_change": kinds_change(),
        "read_back": read_back(),
    }
    (Path(OUT) / "wires.json").write_text(json.dumps(found))
