"""Steering by the DNS: who asks for <title>.edge.<zone> is told the address of the OCA that is best for it.

The one who asks is a resolver, so the OCA is best for the resolver's address, or for the client's prefix
where the resolver passes that on (RFC 7871). A name is good for its time to live: whom a change concerns
learns of it when that is over. Answers are logged as the service's other decisions are, with mode dns.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from testbed.services.control import EDGE, Decision

PORT = 53
_LARGEST = 4096

Steer = Callable[[str, str], Decision]  # title and address of who asks


class Names:
    """The authority for edge.<zone>: `addresses` are those of every OCA and the origin, of either family."""

    def __init__(self, zone: str, addresses: Mapping[str, list[str]], ttl_s: int, steer: Steer) -> None:
        self._apex = dns.name.from_text(f"{EDGE}.{zone}.")
        self._host = f"steering.{zone}."
        self._addresses, self._ttl_s, self._steer = addresses, ttl_s, steer

    def answer(self, wire: bytes, resolver: str) -> bytes | None:
        """The answer to a query from a resolver; None to what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return None
        response = dns.message.make_response(query)
        name, kind = query.question[0].name, query.question[0].rdtype
        if not name.is_subdomain(self._apex):
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()
        response.flags |= dns.flags.AA
        labels = name.relativize(self._apex).labels
        if len(labels) == 1:
            self._tell(response, name, kind, labels[0].decode(), self._client(query, response, resolver))
        elif labels:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if not response.answer:
            response.authority.append(self._soa())
        return response.to_wire()

    def _tell(
        self,
        response: dns.message.Message,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        title: str,
        client: str,
    ) -> None:
        decision = self._steer(title, client)
        if decision.status == HTTPStatus.NOT_FOUND:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return
        best = next(iter(decision.answer.get("urls", ())), None)
        if best is None:
            response.set_rcode(dns.rcode.SERVFAIL)
            return
        version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(kind)
        own = [each for each in self._addresses[best["oca"]] if ip_address(each).version == version]
        if own:
            response.answer.append(
                dns.rrset.from_text(name, self._ttl_s, "IN", dns.rdatatype.to_text(kind), *own)
            )

    def _client(self, query: dns.message.Message, response: dns.message.Message, resolver: str) -> str:
        """Whom the answer is for; an answer for a client's prefix says so."""
        for option in query.options:
            if isinstance(option, dns.edns.ECSOption):
                scoped = dns.edns.ECSOption(option.address, option.srclen, option.srclen)
                response.use_edns(edns=0, options=[scoped])
                return str(option.address)
        return resolver

    def _soa(self) -> dns.rrset.RRset:
        text = f"{self._host} hostmaster.{self._host} 1 3600 600 86400 {self._ttl_s}"
        return dns.rrset.from_text(self._apex, self._ttl_s, "IN", "SOA", text)


def serve(names: Names, address: str, port: int = PORT) -> threading.Thread:
    """Answer at an address over UDP until the process ends, in a thread of its own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    conversation = socket.socket(family, socket.SOCK_DGRAM)
    conversation.bind((address, port))

    def listen() -> None:
        while True:
            wire, peer = conversation.recvfrom(_LARGEST)
            answer = names.answer(wire, peer[0])
            if answer is not None:
                conversation.sendto(answer, peer)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return thread
