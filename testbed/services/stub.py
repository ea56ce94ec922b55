"""A client's stub resolver asks its ISP's resolver over UDP and caches by TTL.

Patience is glibc's by default (resolv.conf(5)): 5 s, two attempts. The cache is what a browser
or a player adds; failures are not cached. A client of both families asks for both at once, AAAA
first, and waits for the second answer no longer than 50 ms after the first with an address (RFC
8305, section 3; since the addresses are handed over together, that goes for either order). Sockets
are opened in the calling thread, so in that thread's network namespace.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

PORT = 53
TIMEOUT_NS = 5_000_000_000
ATTEMPTS = 2
LARGEST = 4096
RESOLUTION_DELAY_NS = 50_000_000
_TYPES = {6: dns.rdatatype.AAAA, 4: dns.rdatatype.A}


class ResolveError(Exception):
    """A name without an answer; `word` names the reason, `latency_ns` is how long that took."""

    word: ClassVar[str] = "failed"

    def __init__(self, host: str, latency_ns: int) -> None:
        super().__init__(f"dns {self.word}: {host}")
        self.latency_ns = latency_ns


class NoSuchNameError(ResolveError):
    """The name does not exist (NXDOMAIN)."""

    word = "nxdomain"


class NoAddressError(ResolveError):
    """The name exists and has no address of a family that the client has."""

    word = "no address"


class ServerFailedError(ResolveError):
    """The resolver answered with an error: SERVFAIL, REFUSED, or something unreadable."""

    word = "servfail"


class UnreachableError(ResolveError):
    """The resolver's host or port answered with an ICMP error, or there is no route."""

    word = "unreachable"


class TimedOutError(ResolveError):
    """No answer came."""

    word = "timeout"


@dataclass(frozen=True)
class _Cached:
    addresses: tuple[str, ...]
    until_ns: int


class Stub:
    """The resolver library of one client; `rng` chooses the query ids."""

    def __init__(
        self,
        server: str,
        rng: random.Random,
        *,
        port: int = PORT,
        timeout_ns: int = TIMEOUT_NS,
        attempts: int = ATTEMPTS,
        families: Sequence[int] = (4,),
    ) -> None:
        self._server = (server, port)
        self._rng = rng
        self._timeout_ns = timeout_ns
        self._attempts = attempts
        self._types = [_TYPES[family] for family in sorted(families, reverse=True)]
        self._cache: dict[str, _Cached] = {}

    def resolve(self, host: str, until_ns: int | None = None) -> tuple[str, int]:
        """The first address of `host` and how long it took; as `addresses` otherwise."""
        addresses, latency_ns = self.addresses(host, until_ns)
        return addresses[0], latency_ns

    def addresses(self, host: str, until_ns: int | None = None) -> tuple[tuple[str, ...], int]:
        """The addresses of `host`, those of IPv6 first, and how long it took; 0 ns out of the cache.

        ResolveError's subclasses say why there is none. At the Unix time `until_ns` it stops
        waiting.
        """
        start_ns = time.time_ns()
        cached = self._cache.get(host)
        if cached is not None and start_ns < cached.until_ns:
            return cached.addresses, 0
        failure: type[ResolveError] = TimedOutError
        for _ in range(self._attempts):
            patience_ns = self._timeout_ns
            if until_ns is not None:
                patience_ns = min(patience_ns, until_ns - time.time_ns())
            if patience_ns <= 0:
                break
            try:
                answers = self._ask(host, time.time_ns() + patience_ns)
                chains = [
                    answer.resolve_chaining() for answer in answers if answer.rcode() == dns.rcode.NOERROR
                ]
            except (TimeoutError, dns.exception.Timeout):
                failure = TimedOutError
            except OSError:
                failure = UnreachableError
            except dns.exception.DNSException:
                failure = ServerFailedError
            else:
                now_ns = time.time_ns()
                if any(answer.rcode() == dns.rcode.NXDOMAIN for answer in answers):
                    raise NoSuchNameError(host, now_ns - start_ns)
                if not chains:
                    failure = ServerFailedError
                    continue
                found = [chain for chain in chains if chain.answer is not None]
                if not found:
                    raise NoAddressError(host, now_ns - start_ns)
                addresses = tuple(str(record.address) for chain in found for record in chain.answer or ())
                ttl_s = min(chain.minimum_ttl for chain in found)
                self._cache[host] = _Cached(addresses, now_ns + ttl_s * 10**9)
                return addresses, now_ns - start_ns
        raise failure(host, time.time_ns() - start_ns)

    def _ask(self, host: str, until_ns: int) -> list[dns.message.QueryMessage]:
        """One attempt: the answers that came in time, in the order of the types; TimeoutError without any."""
        queries = {
            kind: dns.message.make_query(host, kind, id=self._rng.randrange(2**16)) for kind in self._types
        }
        answers: dict[dns.rdatatype.RdataType, dns.message.QueryMessage] = {}
        with contextlib.ExitStack() as stack, selectors.PollSelector() as waiting:
            for kind, query in queries.items():
                conversation = stack.enter_context(socket.socket(self._family, socket.SOCK_DGRAM))
                conversation.connect(self._server)
                conversation.send(query.to_wire())
                waiting.register(conversation, selectors.EVENT_READ, kind)
            while len(answers) < len(queries):
                ready = waiting.select(max(0, until_ns - time.time_ns()) / 1e9)
                if not ready:
                    break
                for key, _ in ready:
                    conversation = cast("socket.socket", key.fileobj)
                    waiting.unregister(conversation)
                    answer = self._read(conversation, queries[key.data], until_ns)
                    answers[key.data] = answer
                    if answer.answer:
                        until_ns = min(until_ns, time.time_ns() + RESOLUTION_DELAY_NS)
        if not answers:
            raise TimeoutError
        return [answers[kind] for kind in self._types if kind in answers]

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET

    def _read(
        self, conversation: socket.socket, query: dns.message.QueryMessage, until_ns: int
    ) -> dns.message.QueryMessage:
        """An answer that is there; over TCP if it did not fit (RFC 1035, section 4.2.1)."""
        answer = dns.message.from_wire(conversation.recv(LARGEST))
        if answer.flags & dns.flags.TC:
            host_address, port = self._server
            patience_s = max(0.001, (until_ns - time.time_ns()) / 1e9)
            answer = dns.query.tcp(query, host_address, timeout=patience_s, port=port)
        if not query.is_response(answer) or not isinstance(answer, dns.message.QueryMessage):
            raise dns.exception.FormError("not an answer to what was asked")  # type: ignore[no-untyped-call]
        return answer
