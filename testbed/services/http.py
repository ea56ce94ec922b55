"""A client fetches over HTTP and TLS, reads in large gulps, and times each phase.

libcurl does the protocol, its multi interface the timing: between two of libcurl's steps this
module waits in one poll() for exactly what can happen next, data or a deadline. Three rules:

* The caller resolves names; addresses go with every request. Connecting is `testbed.services.racing`'s, which
  libcurl is handed the connection of: by itself it would not let an answer of the DNS join the race.
* A request on which no byte arrived for `timeout_ns` has failed, at any phase: connecting, TLS,
  waiting for the answer, within the body. The kernel says when the last byte came (TCP_INFO), so
  bytes that wait below the low-water mark count. libcurl's own LOW_SPEED_TIME knows whole seconds
  and averages over several of them.
* In a body the kernel is asked (SO_RCVLOWAT) to wake the reader only once 64 KiB are there. It goes on
  acknowledging as ever; the receive window is never closed by it, since the mark follows what the
  connection has carried and Linux wakes the reader anyway when the window is about to close.

A connection stays open and is used again. If the server has closed it meanwhile, libcurl opens another
and sends the request once more by itself (RFC 9112, section 9.3.1).
"""

from __future__ import annotations

import ctypes
import errno
import json
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import pycurl

from testbed.services import racing
from testbed.services.racing import Addresses

GULP = 64 * 1024
RECORD = 17 * 1024  # a TLS record (RFC 8446: 16 KiB and 261 bytes) may sit half read in OpenSSL
LEAST = 4 * 1024  # a low-water mark under this saves nothing
SHORT = 1024  # bytes of an error's explanation
STEP_NS = 1_000_000  # poll() counts in milliseconds
_NO_SOCKET: int = pycurl.SOCKET_BAD
_CONNECTED: int = pycurl.SOCKOPT_ALREADY_CONNECTED
_ANY = "0.0.0.0"  # noqa: S104 - libcurl wants an address, and never connects by itself
_VERSIONS = {"1.1": pycurl.CURL_HTTP_VERSION_1_1, "2": pycurl.CURL_HTTP_VERSION_2TLS}
_NEWEST_TLS = {"1.2": pycurl.SSLVERSION_MAX_TLSv1_2, "1.3": pycurl.SSLVERSION_MAX_TLSv1_3}
_TOLD = {
    pycurl.CURL_HTTP_VERSION_1_0: "1.0",
    pycurl.CURL_HTTP_VERSION_1_1: "1.1",
    pycurl.CURL_HTTP_VERSION_2_0: "2",
}

CUT = "cut off: the scenario ended"
NO_BYTE = "timeout: no byte for {:g} s"

_ERRORS = {
    pycurl.E_SSL_CONNECT_ERROR: "TLS handshake failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "certificate refused",
    pycurl.E_SEND_ERROR: "connection lost while sending",
    pycurl.E_RECV_ERROR: "connection lost",
    pycurl.E_GOT_NOTHING: "connection closed without an answer",
    pycurl.E_PARTIAL_FILE: "connection closed within the body",
    pycurl.E_FILESIZE_EXCEEDED: "answer longer than asked for",
}

# Why a certificate was refused, by what OpenSSL's verification came to (x509_vfy.h); 1 is where libcurl
# begins, and what is left where OpenSSL is content and the name is wrong.
_VERIFIED = {
    1: "another name", 9: "not yet valid", 10: "expired", 18: "nobody known signed it",
    19: "nobody known signed it", 20: "nobody known signed it", 21: "nobody known signed it",
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
_TCP_INFO_LAST_DATA_RECV = 52  # offset of tcpi_last_data_recv in struct tcp_info, linux/tcp.h


@dataclass(frozen=True, kw_only=True)
class Response:
    """What came of a request; phases are durations, `first_byte_ns` and `total_ns` since the start."""

    status: int  # 0: no answer
    size: int  # bytes of body received
    body: bytes  # empty unless it was to be kept, or short and of an error
    start_unix_ns: int
    connect_ns: int  # 0 on a connection used again
    tls_ns: int
    first_byte_ns: int  # 0: none came
    total_ns: int
    error: str  # empty: a whole answer came, whatever its status
    address: str = ""  # of the server that was connected to; empty: none
    port: int = 0  # of our end of the connection
    http: str = ""  # version of the answer

    @property
    def ok(self) -> bool:
        """Whether a whole answer came and it is a success."""
        return not self.error and 200 <= self.status < 300


class Client:
    """One viewer's or agent's HTTP client: one request at a time, connections kept."""

    def __init__(
        self, ca: str, timeout_ns: int, user_agent: str = "testbed", http: str = "1.1", tls: str = "1.3"
    ) -> None:
        self._ca = ca
        self._timeout_ns = timeout_ns
        self._user_agent = user_agent
        self._version, self._newest_tls = _VERSIONS[http], _NEWEST_TLS[tls]
        self._curl = pycurl.Curl()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._poll = select.poll()
        self._timer_ns: int | None = None  # when libcurl wants to be called, whatever the sockets say
        self._flows: dict[int, _Flow] = {}  # every connection by its descriptor
        self._watched: dict[int, None] = {}  # those that libcurl waits for, the latest last
        self._flow: _Flow | None = None
        self._target = Addresses(()), 0, (0, "")  # where to connect, and until when: what it is called then
        self._joined: _Joined | None = None  # if the request needed a new connection
        self._unjoined = ""  # why nothing was connected
        self._size = 0
        self._kept: list[bytes] = []
        self._keep = False  # all of the body; else the first of it, which may say why there is no more

    def get(
        self,
        url: str,
        address: str | Sequence[str] | Addresses,
        *,
        span: tuple[int, int] | None = None,
        headers: Iterable[str] = (),
        keep: bool = False,
        until_ns: int | None = None,
    ) -> Response:
        """Fetch `url` from `address`; `span` is the first and last byte wanted, `keep` keeps the body.

        At the Unix time `until_ns` the request is abandoned with the error `CUT`.
        """
        port = self._prepare(url, headers, keep)
        if span is not None:
            self._curl.setopt(pycurl.RANGE, f"{span[0]}-{span[1]}")
            self._curl.setopt(pycurl.MAXFILESIZE, max(span[1] - span[0] + 1, GULP))
        return self._perform(address, port, until_ns)

    def post_json(
        self,
        url: str,
        address: str | Sequence[str] | Addresses,
        document: Any,
        until_ns: int | None = None,
    ) -> Response:
        """Post a document as JSON and keep the answer's body."""
        port = self._prepare(url, ("Content-Type: application/json", "Expect:"), keep=True)
        self._curl.setopt(pycurl.POSTFIELDS, json.dumps(document, separators=(",", ":")))
        return self._perform(address, port, until_ns)

    def close(self) -> None:
        """Close every connection."""
        self._multi.close()
        self._curl.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, url: str, headers: Iterable[str], keep: bool) -> int:
        """Say all of a request but where its server is; the server's port."""
        parts = urlsplit(url)
        port = parts.port or 443
        self._size, self._kept, self._keep = 0, [], keep
        curl = self._curl
        curl.reset()  # connections and TLS sessions stay
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.RESOLVE, [f"{parts.hostname}:{port}:{_ANY}"])
        curl.setopt(pycurl.CAINFO, self._ca)
        curl.setopt(pycurl.HTTP_VERSION, self._version)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2 | self._newest_tls)
        curl.setopt(pycurl.PROXY, "")  # whatever the environment says
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.USERAGENT, self._user_agent)
        curl.setopt(pycurl.HTTPHEADER, list(headers))
        curl.setopt(pycurl.BUFFERSIZE, 2 * GULP)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._connect)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._opened)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        return port

    def _perform(self, address: str | Sequence[str] | Addresses, port: int, until_ns: int | None) -> Response:
        start_ns = time.time_ns()
        if not isinstance(address, Addresses):
            address = Addresses((address,) if isinstance(address, str) else address)
        late = start_ns + self._timeout_ns, NO_BYTE.format(self._timeout_ns / 1e9)
        self._target = address, port, late if until_ns is None else min(late, (until_ns, CUT))
        self._flow, self._joined, self._unjoined = None, None, ""
        self._multi.add_handle(self._curl)
        try:
            error = self._drive(start_ns, until_ns)
            end_ns = time.time_ns()
            return self._response(start_ns, end_ns, error)
        finally:
            self._multi.remove_handle(self._curl)

    def _drive(self, start_ns: int, until_ns: int | None) -> str:
        """Step libcurl until the request is over; what went wrong, or nothing."""
        ready: list[tuple[int, int]] = [(pycurl.SOCKET_TIMEOUT, 0)]
        idle_ns = start_ns + self._timeout_ns  # no byte by then: failed
        while True:
            for descriptor, events in ready:
                self._multi.socket_action(descriptor, events)
            _, done, failed = self._multi.info_read()
            if done:
                return ""
            if failed:
                return self._unjoined or self._name(failed[0][1], failed[0][2])
            if self._flow is not None:
                self._flow.set_low_water(self._low_water())
            now_ns = time.time_ns()
            if until_ns is not None and now_ns >= until_ns:
                return CUT
            if now_ns >= idle_ns:
                last_ns = max(start_ns, now_ns - self._flow.quiet_ns()) if self._flow else start_ns
                idle_ns = last_ns + self._timeout_ns
                if now_ns >= idle_ns:
                    return NO_BYTE.format(self._timeout_ns / 1e9)
                if self._flow is not None:
                    self._flow.set_low_water(1)
            ready = self._wait(now_ns, [idle_ns, self._timer_ns, until_ns])

    def _wait(self, now_ns: int, deadlines: list[int | None]) -> list[tuple[int, int]]:
        """Sleep until a socket is ready or the first deadline; what to tell libcurl."""
        first_ns = min(deadline for deadline in deadlines if deadline is not None)
        events = self._poll.poll(max(0, -(-(first_ns - now_ns) // STEP_NS)))
        if events:
            return [(descriptor, _curl_events(bits)) for descriptor, bits in events]
        if self._timer_ns is not None and first_ns == self._timer_ns:
            self._timer_ns = None
            return [(pycurl.SOCKET_TIMEOUT, 0)]
        return []

    def _low_water(self) -> int:
        """How many bytes shall be there before the reader wakes."""
        if not self._size:
            return 1
        length = self._curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)
        assert self._flow is not None
        return low_water(self._flow.low_water, length - self._size, self._flow.carried + self._size)

    def _response(self, start_ns: int, end_ns: int, error: str) -> Response:
        info = self._curl.getinfo
        # an answer that came at once was never waited for
        flow = self._flow or self._flows.get(info(pycurl.ACTIVESOCKET))
        if flow is not None:
            flow.carried += self._size
        connect_ns = tls_ns = 0
        port = max(0, info(pycurl.LOCAL_PORT))  # -1 where nothing was connected
        if self._joined is not None:
            connect_ns = self._joined.at_ns - self._joined.began_ns
            tls_ns = max(0, info(pycurl.APPCONNECT_TIME_T) * 1000 - (self._joined.at_ns - start_ns))
        status = info(pycurl.RESPONSE_CODE)
        told = self._keep or (status >= HTTPStatus.BAD_REQUEST and self._size <= SHORT)
        return Response(
            status=status,
            size=self._size,
            body=b"".join(self._kept) if told else b"",
            start_unix_ns=start_ns,
            connect_ns=connect_ns,
            tls_ns=tls_ns,
            first_byte_ns=info(pycurl.STARTTRANSFER_TIME_T) * 1000,
            total_ns=end_ns - start_ns,
            error=error,
            address=flow.address if flow is not None and port else "",
            port=port,
            http=_TOLD.get(info(pycurl.INFO_HTTP_VERSION), ""),
        )

    def _name(self, code: int, message: str) -> str:
        """An error in words that do not depend on how long things took."""
        words = _ERRORS.get(code, message)
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            found = self._curl.getinfo(pycurl.SSL_VERIFYRESULT)
            return f"{words}: {_VERIFIED.get(found, f'OpenSSL says {found}')}"
        number = self._curl.getinfo(pycurl.OS_ERRNO)
        return f"{words}: {errno.errorcode.get(number, number)}" if number else words

    def _connect(self, _purpose: int, _address: object) -> socket.socket | int:
        """A connection for libcurl, which needs a new one."""
        addresses, port, (until_ns, late) = self._target
        began_ns = time.time_ns()
        try:
            made, address = racing.connect(addresses, port, until_ns)
        except racing.OutOfTimeError:
            self._unjoined = late
        except OSError as failure:
            self._unjoined = f"cannot connect: {errno.errorcode.get(failure.errno or 0, failure.errno)}"
        else:
            self._joined = _Joined(made, address, began_ns, time.time_ns())
            return made
        return _NO_SOCKET

    def _opened(self, descriptor: int, _purpose: int) -> int:
        assert self._joined is not None
        self._joined.connection.close()  # pycurl has made another descriptor of it
        self._flow = self._flows[descriptor] = _Flow(descriptor, self._joined.address)
        return _CONNECTED

    def _write(self, data: bytes) -> None:
        if self._keep or self._size < SHORT:
            self._kept.append(data)
        self._size += len(data)

    def _watch(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        bits = {
            pycurl.POLL_IN: select.POLLIN,
            pycurl.POLL_OUT: select.POLLOUT,
            pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
        }.get(what, 0)
        if bits:
            self._poll.register(descriptor, bits)
            self._watched[descriptor] = None
        elif what == pycurl.POLL_REMOVE:
            self._poll.unregister(descriptor)
            self._watched.pop(descriptor, None)
        if self._watched:  # the latest carries the request
            self._flow = self._flows.get(next(reversed(self._watched)))

    def _set_timer(self, timeout_ms: int) -> None:
        self._timer_ns = None if timeout_ms < 0 else time.time_ns() + timeout_ms * STEP_NS


@dataclass(frozen=True)
class _Joined:
    """A connection that was made for a request: to which address, and when that began and ended."""

    connection: socket.socket
    address: str
    began_ns: int
    at_ns: int


class _Flow:
    """A TCP connection as the kernel knows it; libcurl owns the descriptor."""

    def __init__(self, descriptor: int, address: str) -> None:
        self._descriptor = descriptor
        self.address = address  # of the server
        self.low_water = 1
        self.carried = 0  # bytes of body in finished responses

    def set_low_water(self, size: int) -> None:
        if size != self.low_water:
            value = ctypes.c_int(size)
            _libc.setsockopt(self._descriptor, socket.SOL_SOCKET, socket.SO_RCVLOWAT, ctypes.byref(value), 4)
            self.low_water = size

    def quiet_ns(self) -> int:
        """How long no data has come; the kernel counts in milliseconds."""
        info = ctypes.create_string_buffer(_TCP_INFO_LAST_DATA_RECV + 4)
        size = ctypes.c_uint(len(info))
        if _libc.getsockopt(self._descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, info, ctypes.byref(size)):
            return 0
        (quiet_ms,) = struct.unpack_from("=I", info, _TCP_INFO_LAST_DATA_RECV)
        return int(quiet_ms) * STEP_NS


def low_water(current: int, remaining: int, carried: int) -> int:
    """The low-water mark for a body with `remaining` bytes to come, given the mark in force.

    Never more than is sure to come, less one TLS record that may be half read; never more than half
    of what the connection has `carried`, so that the receive window can grow as it does for a
    reader that reads at once. Raised by doubling only, to spare system calls.
    """
    sure = remaining - RECORD
    wanted = min(GULP, carried // 2, sure)
    if wanted < LEAST:
        return 1
    if current > sure or wanted >= 2 * current or wanted == GULP:
        return wanted
    return current


def _curl_events(bits: int) -> int:
    events = 0
    if bits & (select.POLLIN | select.POLLHUP):
        events |= pycurl.CSELECT_IN
    if bits & select.POLLOUT:
        events |= pycurl.CSELECT_OUT
    if bits & select.POLLERR:
        events |= pycurl.CSELECT_ERR
    return events
