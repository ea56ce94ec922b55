"""A session's requests: each is numbered, its name resolved, and recorded with all its phases."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from testbed.job import Session
from testbed.services.http import CUT, Client, Response
from testbed.services.records import Records
from testbed.services.stub import ResolveError, Stub

PARTIAL_CONTENT = 206


@dataclass(frozen=True)
class Answer:
    """A request's response, when it began (the name's look-up included), and what was wrong, if anything.

    `late` says that its time was up before it was whole.
    """

    start_ns: int
    response: Response
    error: str
    late: bool = False


class Asking:
    """Asks on behalf of one session."""

    def __init__(self, session: Session, records: Records, stub: Stub, client: Client) -> None:
        self._session = session
        self._records = records
        self._stub = stub
        self._client = client
        self._numbers = itertools.count(1)

    def get(
        self,
        oca: str,
        url: str,
        span: tuple[int, int] | None,
        until_ns: int,
        late: str = CUT,
        headers: tuple[str, ...] = (),
    ) -> Answer:
        """Resolve, fetch and record; without a span the body is kept.

        At the Unix time `until_ns` it is abandoned with the error `late`.
        """
        request_id = f"{self._session.id}-{next(self._numbers)}"
        start_ns = time.time_ns()
        dns_ns = 0
        try:
            addresses, dns_ns = self._stub.addresses(urlsplit(url).hostname or "", until_ns)
            response = self._client.get(
                url,
                addresses,
                span=span,
                headers=(f"X-Request-Id: {request_id}", *headers),
                keep=span is None,
                until_ns=until_ns,
            )
            error = response.error or _wrong(response, span)
        except ResolveError as failure:
            dns_ns, error = failure.latency_ns, str(failure)
            response = Response(
                status=0, size=0, body=b"", start_unix_ns=start_ns + dns_ns,
                connect_ns=0, tls_ns=0, first_byte_ns=0, total_ns=0, error=error,
            )  # fmt: skip
        was_late = bool(error) and (error == CUT or time.time_ns() >= until_ns)
        answer = Answer(start_ns, response, late if was_late else error, was_late)
        self._record(request_id, oca, url, dns_ns, answer)
        return answer

    def _record(self, request_id: str, oca: str, url: str, dns_ns: int, answer: Answer) -> None:
        response, start_ns = answer.response, answer.start_ns
        before_ns = response.start_unix_ns - start_ns
        self._records.write(
            "requests",
            start_ns,
            session_id=self._session.id,
            client=self._session.client,
            oca=oca,
            url=url,
            status=response.status,
            bytes=response.size,
            dns_ns=dns_ns,
            connect_ns=response.connect_ns,
            tls_ns=response.tls_ns,
            first_byte_ns=response.first_byte_ns and before_ns + response.first_byte_ns,
            total_ns=before_ns + response.total_ns,
            error=answer.error,
            request_id=request_id,
            address=response.address,
            sport=response.port or None,
            http=response.http,
        )


def _said(body: bytes) -> str:
    """The error that the JSON of an answer names; empty if it names none."""
    try:
        return str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return ""


def _wrong(response: Response, span: tuple[int, int] | None) -> str:
    """What an answer lacks of what was asked for."""
    if response.ok if span is None else response.status == PARTIAL_CONTENT:
        if span is None:
            return _said(response.body)
        wanted = span[1] - span[0] + 1
        return "" if response.size == wanted else f"{response.size} bytes instead of {wanted}"
    said = _said(response.body)
    return f"HTTP {response.status}: {said}" if said else f"HTTP {response.status}"
