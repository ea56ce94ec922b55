"""A client's stub resolver asks its ISP's resolver over UDP and caches by TTL.

Patience is glibc's by default (resolv.conf(5)): 5 s, two attempts. The cache is what a browser
or a player adds; failures are not cached. Sockets are opened in the calling thread, so in that
thread's network namespace.
"""

from __future__ import annotations

import random
import socket
import time
from dataclasses import dataclass
from typing import ClassVar

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
    """The name exists and has no IPv4 address."""

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
    address: str
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
    ) -> None:
        self._server = (server, port)
        self._rng = rng
        self._timeout_ns = timeout_ns
        self._attempts = attempts
        self._cache: dict[str, _Cached] = {}

    def resolve(self, host: str, until_ns: int | None = None) -> tuple[str, int]:
        """An IPv4 address of `host` and how long it took; 0 ns out of the cache.

        ResolveError's subclasses say why there is none. At the Unix time `until_ns` it stops
        waiting.
        """
        start_ns = time.time_ns()
        cached = self._cache.get(host)
        if cached is not None and start_ns < cached.until_ns:
            return cached.address, 0
        failure: type[ResolveError] = TimedOutError
        for _ in range(self._attempts):
            patience_ns = self._timeout_ns
            if until_ns is not None:
                patience_ns = min(patience_ns, until_ns - time.time_ns())
            if patience_ns <= 0:
                break
            try:
                answer = self._ask(host, patience_ns / 1e9)
                chain = answer.resolve_chaining() if answer.rcode() == dns.rcode.NOERROR else None
            except (TimeoutError, dns.exception.Timeout):
                failure = TimedOutError
            except OSError:
                failure = UnreachableError
            except dns.exception.DNSException:
                failure = ServerFailedError
            else:
                now_ns = time.time_ns()
                if answer.rcode() == dns.rcode.NXDOMAIN:
                    raise NoSuchNameError(host, now_ns - start_ns)
                if chain is None:
                    failure = ServerFailedError
                    continue
                if chain.answer is None:
                    raise NoAddressError(host, now_ns - start_ns)
                address = str(chain.answer[0].address)
                self._cache[host] = _Cached(address, now_ns + chain.minimum_ttl * 10**9)
                return address, now_ns - start_ns
        raise failure(host, time.time_ns() - start_ns)

    def _ask(self, host: str, patience_s: float) -> dns.message.QueryMessage:
        """One attempt: UDP, then TCP if the answer did not fit (RFC 1035, section 4.2.1)."""
        query = dns.message.make_query(host, dns.rdatatype.A, id=self._rng.randrange(2**16))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as conversation:
            conversation.settimeout(patience_s)
            conversation.connect(self._server)
            conversation.send(query.to_wire())
            answer = dns.message.from_wire(conversation.recv(LARGEST))
        if answer.flags & dns.flags.TC:
            host_address, port = self._server
            answer = dns.query.tcp(query, host_address, timeout=patience_s, port=port)
        if not query.is_response(answer) or not isinstance(answer, dns.message.QueryMessage):
            raise dns.exception.FormError("not an answer to what was asked")  # type: ignore[no-untyped-call]
        return answer
