"""A client's stub resolver asks its ISP's resolver over UDP and caches by TTL.

Patience is glibc's by default (resolv.conf(5)): 5 s, two attempts. The cache is what a browser
or a player adds; failures are not cached. A client of both families asks for both at once, AAAA
first. With an address of IPv6 it waits for no other, with one of IPv4 for 50 ms (RFC 8305, section 3); an
answer that comes later is taken in whenever it comes. Sockets are opened in the calling thread, so in
that thread's network namespace.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import select
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from testbed.services.racing import Addresses

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


class Found(Addresses):
    """The addresses that a look-up has found so far; the answer for the other family may be under way."""

    def __init__(self, known: Sequence[str], late: _Asked | None) -> None:
        super().__init__(known)
        self._late = late

    @property
    def waiting(self) -> socket.socket | None:
        """The socket of the answer under way."""
        return self._late.conversation if self._late else None

    def more(self) -> tuple[str, ...]:
        """Take the answer in if it is there."""
        late = self._late
        if late is None or not _readable(late.conversation):
            return ()
        self._late = None
        with late.conversation:
            try:
                answer = _read(late, time.time_ns() + RESOLUTION_DELAY_NS)
                new = tuple(str(record.address) for record in answer.resolve_chaining().answer or ())
            except (OSError, dns.exception.DNSException):
                new = ()  # what is known has to do
        self.known += new
        return new

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._late:
            self._late.conversation.close()
            self._late = None


@dataclass(frozen=True)
class _Asked:
    """A query that was sent, to whom, and the socket for its answer."""

    conversation: socket.socket
    query: dns.message.QueryMessage
    server: tuple[str, int]


def _readable(conversation: socket.socket) -> bool:
    """Whether something has come; select(2) knows no descriptor above 1023, and a crowd has those."""
    poll = select.poll()
    poll.register(conversation, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(frozen=True)
class _Cached:
    found: Found
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

    def close(self) -> None:
        """Wait for no answer any more."""
        for cached in self._cache.values():
            cached.found.close()

    def resolve(self, host: str, until_ns: int | None = None) -> tuple[str, int]:
        """The first address of `host` and how long it took; as `addresses` otherwise."""
        found, latency_ns = self.addresses(host, until_ns)
        return found.known[0], latency_ns

    def addresses(self, host: str, until_ns: int | None = None) -> tuple[Found, int]:
        """The addresses of `host`, those of IPv6 first, and how long it took; 0 ns out of the cache.

        ResolveError's subclasses say why there is none. At the Unix time `until_ns` it stops
        waiting.
        """
        start_ns = time.time_ns()
        cached = self._cache.get(host)
        if cached is not None and start_ns < cached.until_ns:
            cached.found.more()
            return cached.found, 0
        failure: type[ResolveError] = TimedOutError
        for _ in range(self._attempts):
            patience_ns = self._timeout_ns
            if until_ns is not None:
                patience_ns = min(patience_ns, until_ns - time.time_ns())
            if patience_ns <= 0:
                break
            try:
                found, ttl_s = self._look_up(host, start_ns, time.time_ns() + patience_ns)
            except (TimeoutError, dns.exception.Timeout):
                failure = TimedOutError
            except OSError:
                failure = UnreachableError
            except dns.exception.DNSException:
                failure = ServerFailedError
            else:
                now_ns = time.time_ns()
                if cached is not None:
                    cached.found.close()
                self._cache[host] = _Cached(found, now_ns + ttl_s * 10**9)
                return found, now_ns - start_ns
        raise failure(host, time.time_ns() - start_ns)

    def _look_up(self, host: str, start_ns: int, until_ns: int) -> tuple[Found, int]:
        """One attempt: the addresses and how many seconds they are good for.

        NoSuchNameError and NoAddressError are the resolver's word; with any other exception it may be
        asked once more.
        """
        answers, late = self._ask(host, until_ns)
        with contextlib.ExitStack() as unless_found:
            if late is not None:
                unless_found.enter_context(late.conversation)
            if any(answer.rcode() == dns.rcode.NXDOMAIN for answer in answers):
                raise NoSuchNameError(host, time.time_ns() - start_ns)
            chains = [answer.resolve_chaining() for answer in answers if answer.rcode() == dns.rcode.NOERROR]
            if not chains:
                raise dns.exception.DNSException
            told = [chain for chain in chains if chain.answer is not None]
            if not told:
                raise NoAddressError(host, time.time_ns() - start_ns)
            unless_found.pop_all()
            known = [str(record.address) for chain in told for record in chain.answer or ()]
            return Found(known, late), min(chain.minimum_ttl for chain in told)

    def _ask(self, host: str, until_ns: int) -> tuple[list[dns.message.QueryMessage], _Asked | None]:
        """One attempt: the answers that count, in the order of the types, and the query that has none yet.

        TimeoutError without any.
        """
        answers: dict[dns.rdatatype.RdataType, dns.message.QueryMessage] = {}
        with contextlib.ExitStack() as stack, selectors.PollSelector() as waiting:
            asked: dict[dns.rdatatype.RdataType, _Asked] = {}
            for kind in self._types:
                query = dns.message.make_query(host, kind, id=self._rng.randrange(2**16))
                conversation = stack.enter_context(socket.socket(self._family, socket.SOCK_DGRAM))
                conversation.connect(self._server)
                conversation.send(query.to_wire())
                waiting.register(conversation, selectors.EVENT_READ, kind)
                asked[kind] = _Asked(conversation, query, self._server)
            while asked:
                ready = waiting.select(max(0, until_ns - time.time_ns()) / 1e9)
                if not ready:
                    break
                for key, _ in ready:
                    waiting.unregister(key.fileobj)
                    answers[key.data] = _read(asked.pop(key.data), until_ns)
                useful = [kind for kind in answers if _has(answers[kind], kind)]
                if dns.rdatatype.AAAA in useful:
                    break
                if useful:
                    until_ns = min(until_ns, time.time_ns() + RESOLUTION_DELAY_NS)
            if not answers:
                raise TimeoutError
            late = next(iter(asked.values()), None)
            if late is not None:  # the socket itself is closed with the others
                late = dataclasses.replace(late, conversation=late.conversation.dup())
        return [answers[kind] for kind in self._types if kind in answers], late

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET


def _has(answer: dns.message.QueryMessage, kind: dns.rdatatype.RdataType) -> bool:
    """Whether there are addresses in an answer, and not just aliases."""
    return any(records.rdtype == kind for records in answer.answer)


def _read(asked: _Asked, until_ns: int) -> dns.message.QueryMessage:
    """An answer that is there; over TCP if it did not fit (RFC 1035, section 4.2.1)."""
    answer = dns.message.from_wire(asked.conversation.recv(LARGEST))
    if answer.flags & dns.flags.TC:
        host_address, port = asked.server
        patience_s = max(0.001, (until_ns - time.time_ns()) / 1e9)
        answer = dns.query.tcp(asked.query, host_address, timeout=patience_s, port=port)
    if not asked.query.is_response(answer) or not isinstance(answer, dns.message.QueryMessage):
        raise dns.exception.FormError("not an answer to what was asked")  # type: ignore[no-untyped-call]
    return answer
