"""Real-time traffic: datagrams at a constant rate, whose one-way delays and losses are measured."""

from __future__ import annotations

import itertools
import socket
import struct
import time
from dataclasses import dataclass
from typing import ClassVar

from testbed.traffic import Flow, Traffic
from testbed.units import Rate, Size

_HEAD = struct.Struct("!Qq")  # number, and Unix time of sending in ns
_LATE_S = 2.0  # how long stragglers are waited for
_UDP_IP_ETHERNET = 8 + 20 + 14


@dataclass(frozen=True, kw_only=True)
class Realtime(Traffic):
    """{kind: realtime, clients: north.homes, server: origin, rate: 100kbit, packet: 200B}

    From the server to each client, UDP datagrams of `packet` bytes (on the wire from the Ethernet header
    on, with IPv4) at `rate`, as a call has them. Delays are from sending to receiving, on the one clock
    there is; jitter is the smoothed one of RFC 3550, section 6.4.1, at the end.
    """

    kind: ClassVar[str] = "realtime"

    rate: Rate = Rate(100_000)
    packet: Size = Size(200)

    def __post_init__(self) -> None:
        if self.packet < _UDP_IP_ETHERNET + _HEAD.size or not self.rate:
            least = _UDP_IP_ETHERNET + _HEAD.size
            raise ValueError(
                f"packets are of {least} bytes at least, at some rate; write for example packet: 200B"
            )

    def serve(self, flow: Flow) -> None:
        """Send one datagram after the other, each at its time, once the client has said where to."""
        with socket.socket(flow.family, socket.SOCK_DGRAM) as conversation:
            conversation.bind((flow.address, flow.port))
            conversation.settimeout(flow.left_s())
            _, client = conversation.recvfrom(1)
            gap_ns = self.packet * 8 * 10**9 // self.rate
            filling = bytes(self.packet - _UDP_IP_ETHERNET - _HEAD.size)
            began_ns = time.time_ns()
            for number in itertools.count():
                due_ns = began_ns + number * gap_ns
                if due_ns >= flow.end_unix_ns:
                    break
                time.sleep(max(0, due_ns - time.time_ns()) / 1e9)
                conversation.sendto(_HEAD.pack(number, time.time_ns()) + filling, client)
            # what comes after the last number says how many there were
            conversation.sendto(_HEAD.pack(number, 0), client)

    def ask(self, flow: Flow) -> None:
        """Say where to send, and measure what comes."""
        start_ns, error, sent = time.time_ns(), "", None
        delays: list[int] = []
        jitter = last = 0.0
        numbers = set()
        with socket.socket(flow.family, socket.SOCK_DGRAM) as conversation:
            conversation.connect((flow.address, flow.port))
            conversation.settimeout(1.0)
            try:
                conversation.send(b"?")
                while sent is None and time.time_ns() < flow.end_unix_ns + round(_LATE_S * 1e9):
                    try:
                        number, sent_ns = _HEAD.unpack_from(conversation.recv(2048))
                    except TimeoutError:
                        if not delays:
                            conversation.send(b"?")  # the first word may have been lost
                        continue
                    if not sent_ns:
                        sent = number
                        continue
                    numbers.add(number)
                    delay = time.time_ns() - sent_ns
                    if delays:
                        jitter += (abs(delay - last) - jitter) / 16
                    delays.append(delay)
                    last = delay
            except OSError as wrong:
                error = str(wrong)
        delays.sort()
        count = len(numbers) if sent is None else sent
        if sent is None and numbers:
            count = max(numbers) + 1
        flow.record(
            start_ns, bytes=len(delays) * self.packet, took_ns=time.time_ns() - start_ns, error=error,
            sent=count, received=len(numbers), jitter_ns=round(jitter),
            **{f"delay_p{share}_ns": _percentile(delays, share) for share in (50, 95, 99)},
        )  # fmt: skip


def _percentile(ordered: list[int], share: int) -> int | None:
    """The nearest rank; None of nothing."""
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)] if ordered else None
