"""Packets are rows, each field of all of them an array.

What is parsed, and how, is in c/parse.c; what each segment was, in c/follow.c. A field
that the snap length cut off, or that the packet does not have, is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from testbed.measure.native import EXTRA, ROW

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ARP, OTHER = 256, 257  # beyond the 8-bit protocol numbers of IP
PROTOCOLS = tuple(
    {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6", ARP: "arp", OTHER: "other"}.get(
        number, str(number)
    )
    for number in range(258)
)
FIN, SYN, RST, ACK = 1, 2, 4, 16
WHOLE_PORTS = (53, 179)  # DNS and BGP: captured whole, their payload is kept

# What `has` says of a row (c/packets.h).
OUT, ADDRESSED, IP, IPV4, PORTS, IS_TCP, ADDRESSES, STAMPS = (1 << bit for bit in range(8))
RETRANSMISSION, FORWARD, DIRECTION, FRAGMENT, IS_ICMP, VLAN, MSS, SCALE = (1 << bit for bit in range(8, 16))

# What a payload starts with, by its number (c/parse.c).
STARTS = (
    "", "dns-query", "dns-response", "bgp-open", "bgp-update", "bgp-notification", "bgp-keepalive",
    "bgp-route-refresh", "tls-client-hello", "tls-server-hello", "tls-handshake", "tls-change-cipher-spec",
    "tls-alert", "tls-data", "quic-initial", "quic-0rtt", "quic-handshake", "quic-retry",
    "quic-version-negotiation", "quic-short", "bfd-admin-down", "bfd-down", "bfd-init", "bfd-up",
)  # fmt: skip

# What a segment was in Wireshark's words, by the bit of `analysis` (c/follow.c).
ANALYSES = (
    "retransmission", "fast-retransmission", "spurious-retransmission", "out-of-order",
    "previous-segment-not-captured", "acked-unseen-segment", "duplicate-ack", "window-update",
    "zero-window", "window-full", "keep-alive", "keep-alive-ack", "zero-window-probe",
    "zero-window-probe-ack", "port-numbers-reused", "timeout",
)  # fmt: skip

Bools = npt.NDArray[np.bool_]


@dataclass
class Packets:
    """Some packets of one capture point, in the order of time."""

    rows: npt.NDArray[np.void]  # of layout ROW
    extras: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, EXTRA))
    extras_before: int = 0  # how many extras the capture had before these
    payloads: dict[int, bytes] = field(default_factory=dict)  # of WHOLE_PORTS, by index

    def __len__(self) -> int:
        return len(self.rows)

    def __getattr__(self, name: str) -> npt.NDArray[np.generic]:
        """A column: one of the layout ROW."""
        if name not in (ROW.names or ()):
            raise AttributeError(name)
        column: npt.NDArray[np.generic] = self.rows[name]
        return column

    def are(self, what: int) -> Bools:
        """Whether each packet has all of what these bits say."""
        found: Bools = self.rows["has"] & what == what
        return found

    @property
    def out(self) -> Bools:
        """Whether each leaves the capturing interface's node."""
        return self.are(OUT)

    @property
    def has_ports(self) -> Bools:
        """Whether each has the header of TCP or UDP."""
        return self.are(PORTS)

    @property
    def has_tcp(self) -> Bools:
        """Whether each has a TCP header."""
        return self.are(IS_TCP)
