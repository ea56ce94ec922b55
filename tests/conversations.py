"""TCP connections made by dice: what a capture somewhere between two hosts would hold of them.

Segments are lost before the capture or behind it, copied, overtaken and sent again, by duplicate
acknowledgements or by timer; receivers close their window and open it; captures begin late or miss packets.
"""

import heapq
import itertools
import random
import struct

from captures import ACK, EPOCH_NS, FIN, MS, PSH, RST, SYN, ethernet, ipv4, ipv6, mac, stamps, tcp

US = 1000
MSS = 1000
WRAP = 2**32


class Conversation:
    """One connection, from its handshake to its end, and the frames that the capture holds."""

    def __init__(self, port, dice, begin_ns):
        self.dice, self.seen, self.now = dice, [], begin_ns
        self.version6, self.port = dice.random() < 0.3, port
        self.delay_ns = int(dice.choice((0.3, 2, 10, 40)) * MS)
        self.place = dice.choice((0.02, 0.5, 0.98))  # of the way from the server where the capture is
        self.loss = dice.choice((0, 0, 0.01, 0.05))
        self.disorder, self.copies = dice.choice((0, 0, 0.02)), dice.choice((0, 0, 0.02))
        self.missed = dice.choice((0, 0, 0, 0.01))  # by the capture alone
        self.sacks, self.stamps = dice.random() < 0.8, dice.random() < 0.7
        self.scale = dice.choice((None, 0, 7))
        self.isn = dice.choice((1000, WRAP - 5000, dice.randrange(WRAP)))
        self.client_isn = dice.randrange(WRAP)
        self.events, self.order = [], itertools.count()
        self.late = dice.random() < 0.1  # the capture begins in the middle

    def at(self, t_ns, what, *args):
        heapq.heappush(self.events, (t_ns, next(self.order), what, args))

    def options(self):
        return stamps(self.now // MS % WRAP, 1) if self.stamps else b""

    def send(self, from_server, seq, ack, flags, data=0, window=500, options=b"", then=None):
        """Put a segment on its way; the capture may see it, and `then` is called when it arrives."""
        dice = self.dice
        ports = (443, self.port) if from_server else (self.port, 443)
        segment = tcp(*ports, seq, ack, flags, bytes(data), options=options, window=window)
        ends = ("10.0.0.1", "10.0.0.2") if from_server else ("10.0.0.2", "10.0.0.1")
        if self.version6:
            packet = ipv6(segment, *(f"2001:db8::{end[-1]}" for end in ends), 6)
        else:
            packet = ipv4(segment, *ends, 6)
        frame = ethernet(packet, mac(1), mac(2), 0x86DD if self.version6 else 0x0800)
        delay_ns = self.delay_ns + (dice.randrange(50 * US) if self.stamps or dice.random() < 0.5 else 0)
        if dice.random() < self.disorder:
            delay_ns += dice.randrange(self.delay_ns) + 200 * US
        part = self.place if from_server else 1 - self.place
        lost, before = dice.random() < self.loss, dice.random() < part
        for copy in range(1 + (dice.random() < self.copies)):
            sight_ns = self.now + int(delay_ns * part) + copy * 30 * US
            if not (lost and before) and dice.random() >= self.missed:
                self.seen.append((sight_ns, frame))
            if not lost and then:
                self.at(self.now + delay_ns + copy * 30 * US, then)

    def run(self):
        """Play it to its end."""
        dice = self.dice
        window = b"" if self.scale is None else bytes([3, 3, self.scale, 1])
        syn = b"\x02\x04\x03\xe8" + (b"\x04\x02\x01\x01" if self.sacks else b"") + window
        if not dice.random() < 0.05:
            self.send(False, self.client_isn, 0, SYN, options=syn)
            self.now += 2 * self.delay_ns
            self.send(True, self.isn, self.client_isn + 1, SYN | ACK, options=syn)
            self.now += 2 * self.delay_ns
            self.send(False, self.client_isn + 1, self.isn + 1, ACK, options=self.options())
        self.request = 100
        self.send(False, self.client_isn + 1, self.isn + 1, ACK | PSH, 100, options=self.options())
        self.now += 2 * self.delay_ns
        self.count = dice.randrange(1, 120)
        self.acked = self.sent = self.repeats = 0
        self.allowed, self.recovering, self.timer, self.tries = 10, -1, 0, 0
        self.received, self.closed = set(), False
        self.push()
        while self.events and self.tries < 7:
            self.now, _, what, args = heapq.heappop(self.events)
            what(*args)
        ending = dice.choice((FIN, FIN, RST, 0))
        if ending:
            self.send(True, self.seq(self.count), self.client_isn + 101, ending | ACK, options=self.options())
            self.now += 2 * self.delay_ns
            if ending == FIN:
                last = self.isn + 2 + self.count * MSS
                self.send(False, self.client_isn + 101, last, FIN | ACK, options=self.options())
        self.seen.sort(key=lambda each: each[0])
        return self.seen[len(self.seen) // 3 :] if self.late else self.seen

    def seq(self, number):
        return self.isn + 1 + number * MSS

    def push(self):
        """Send what the window allows."""
        while self.sent < min(self.count, self.acked + self.allowed) and not self.closed:
            self.segment(self.sent)
            self.sent += 1
        self.arm()

    def segment(self, number):
        data = lambda: self.take(number)  # noqa: E731
        self.send(True, self.seq(number), self.client_isn + 101, ACK, MSS, options=self.options(), then=data)

    def arm(self):
        self.timer += 1
        if self.acked < self.count:
            self.at(self.now + (4 * self.delay_ns + 200 * MS) * 2**self.tries, self.expired, self.timer)

    def expired(self, timer):
        if timer != self.timer:
            return
        self.tries += 1
        if self.closed:  # a probe of a closed window, or a keep-alive
            probe, size = (self.acked, 1) if self.dice.random() < 0.5 else (self.acked, 0)
            seq = self.seq(probe) - (0 if size else 1)
            self.send(True, seq, self.client_isn + 101, ACK, size, options=self.options(), then=self.answer)
        else:
            self.segment(self.acked)
            self.recovering = self.sent
        self.arm()

    def take(self, number):
        """A segment arrives at the client."""
        self.received.add(number)
        if self.dice.random() < 0.02:
            self.closed = True
            self.at(self.now + self.dice.choice((5, 300, 900)) * MS, self.opens)
        self.answer()

    def answer(self):
        got = next(number for number in itertools.count() if number not in self.received)
        blocks = self.blocks(got)
        options = self.options() + blocks
        window = 0 if self.closed else self.dice.choice((500, 500, 500, 400))
        heard = lambda: self.heard(got)  # noqa: E731
        ack = self.isn + 1 + got * MSS
        self.send(False, self.client_isn + 101, ack, ACK, options=options, window=window, then=heard)

    def blocks(self, got):
        held = sorted(number for number in self.received if number > got)
        if not self.sacks or not held:
            return b""
        runs = []
        for number in held:
            if runs and number == runs[-1][1]:
                runs[-1][1] += 1
            else:
                runs.append([number, number + 1])
        edges = [self.seq(edge) % WRAP for run in runs[-2:] for edge in run]
        return struct.pack(f">BBBB{len(edges)}I", 1, 1, 5, 2 + 4 * len(edges), *edges)

    def opens(self):
        self.closed = False
        self.answer()

    def heard(self, got):
        """An acknowledgement arrives at the server."""
        if got > self.acked:
            self.acked, self.repeats, self.tries = got, 0, 0
            self.allowed = min(self.allowed + 1, 40)
            if got < self.recovering:
                self.segment(got)
            self.push()
        elif got == self.acked and got < self.sent:
            self.repeats += 1
            if self.repeats == 3 and self.acked >= self.recovering:
                self.segment(self.acked)
                self.recovering = self.sent
                self.allowed = max(self.allowed // 2, 2)


def conversations(count, seed):
    """The frames of so many connections, in the order of time; some reuse the ports of ones that are over."""
    seen, over = [], []
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        begin_ns = EPOCH_NS + number * 40 * MS
        port = 20_000 + number
        if number % 10 == 0 and over and over[0][0] < begin_ns:
            port = heapq.heappop(over)[1]
        conversation = Conversation(port, dice, begin_ns)
        seen += conversation.run()
        heapq.heappush(over, (conversation.now + 100 * MS, port))
    return sorted(seen, key=lambda each: each[0])
