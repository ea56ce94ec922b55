"""DNS is read off the wire: each UDP query to port 53 and the answer to it make one row."""

from __future__ import annotations

from collections import deque
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import numpy as np

from testbed.measure.addresses import Addresses
from testbed.measure.packets import UDP, Packets
from testbed.measure.points import Point

PORT = 53
UNANSWERED_NS = 5_000_000_000  # an answer later than this is taken for none; resolv.conf(5): timeout


def queries(
    captures: list[tuple[Point, Packets]], addresses: Addresses, nodes: dict[str, str]
) -> list[dict[str, Any]]:
    """The rows of all queries, each read at the capture next to who asks.

    `latency_ns`, `rcode` and `answers` are null where no answer came. DNS over TCP is not read.
    """
    found: dict[tuple[int, int, int, int], tuple[bool, list[dict[str, Any]]]] = {}
    for point, packets in captures:
        about = (packets.proto == UDP) & ((packets.sport == PORT) | (packets.dport == PORT))
        opened: dict[tuple[int, int, int, int], list[dict[str, Any]]] = {}
        waiting: dict[tuple[int, int, int, int], deque[dict[str, Any]]] = {}
        near: dict[tuple[int, int, int, int], bool] = {}
        for index in np.flatnonzero(about & packets.has_ports).tolist():
            message = _message(packets.payloads.get(index, b""))
            if message is None or not message.question:
                continue
            t_ns, src, dst = int(packets.t_ns[index]), int(packets.src[index]), int(packets.dst[index])
            if not message.flags & dns.flags.QR:
                sender = point.node if packets.out[index] else point.peer
                asker = addresses.texts[src]
                key = (src, dst, int(packets.sport[index]), message.id)
                near[key] = nodes.get(asker) == sender
                query: dict[str, Any] = {
                    "t_ns": t_ns,
                    "node": nodes.get(asker, asker),
                    "server": nodes.get(addresses.texts[dst], addresses.texts[dst]),
                    "qname": message.question[0].name.to_text(omit_final_dot=True).lower(),
                    "qtype": dns.rdatatype.to_text(message.question[0].rdtype),
                }
                opened.setdefault(key, []).append(query)
                waiting.setdefault(key, deque()).append(query)
            else:
                key = (dst, src, int(packets.dport[index]), message.id)
                first = waiting.get(key, deque())
                while first and t_ns - first[0]["t_ns"] > UNANSWERED_NS:
                    first.popleft()
                if first:
                    query = first.popleft()
                    query["latency_ns"] = t_ns - query["t_ns"]
                    query["rcode"] = dns.rcode.to_text(message.rcode())
                    query["answers"] = [
                        f"{dns.rdatatype.to_text(record_set.rdtype)} {record.to_text()}"
                        for record_set in message.answer
                        for record in record_set
                    ]
        for key, rows in opened.items():
            if key not in found or (near[key] and not found[key][0]):
                found[key] = (near[key], rows)
    return [row for _, rows in found.values() for row in rows]


def _message(payload: bytes) -> dns.message.Message | None:
    """The message in a datagram; None if it is none, for anything may use the port."""
    try:
        return dns.message.from_wire(payload, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
