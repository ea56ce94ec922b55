"""Players resolve, ask steering, and stream their titles by byte ranges, one thread a viewer.

`run(config)`, with

    events        path of events.jsonl
    seed          int; back-off is jittered from it
    t0_unix_ns    the scenario's zero
    duration_ns   the scenario's end: what still plays then has been cut
    titles        {name: Title as a dict}
    sessions      [Session as a dict, with
                     netns          descriptor of the client's network namespace; None: this one
                     steering_host  name (or name:port) of the steering service
                     and if wanted resume_ns (startup_ns), give_up_ns (30 s), resolver_port (53)]

A range that failed (no answer, no byte for `timeout_ns`, a status other than 206, a short body) is
fetched again in full, at the same bitrate, from the next OCA of the list. When all of them have
failed the viewer backs off, from 0.5 s doubling to 8 s and jittered by half, and asks steering
again; without an answer the old list stays in use. A list past its time to live is renewed while
the buffer can spare the time. A viewer who has waited `give_up_ns` while nothing worked leaves.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from testbed import namespaces, registry
from testbed.abrs import Abr, Sample, State
from testbed.job import Title, revive
from testbed.services.http import CUT, Client, Response
from testbed.services.playback import Moment, Playback
from testbed.services.records import Records
from testbed.services.sources import Source, Sources
from testbed.services.stub import ResolveError, Stub

GIVE_UP_NS = 30_000_000_000
BACK_OFF_NS = 500_000_000
BACK_OFF_MOST_NS = 8_000_000_000
ASK_AGAIN_NS = 10_000_000_000  # a list that could not be renewed is kept so long
PARTIAL_CONTENT = 206


def run(config: dict[str, Any]) -> None:
    """Start each session at its time and return when all are over."""
    records = Records(config["events"])
    titles: dict[str, Title] = {name: revive(Title, title) for name, title in config["titles"].items()}
    end_ns = config["t0_unix_ns"] + config["duration_ns"]
    threads = []
    for session in sorted(config["sessions"], key=lambda session: (session["start_ns"], session["id"])):
        start_ns = config["t0_unix_ns"] + session["start_ns"]
        if start_ns >= end_ns:
            break
        sleep_until(start_ns)
        arguments = (session, titles[session["title"]], records, end_ns, config["seed"])
        thread = threading.Thread(target=_view, args=arguments, name=session["id"])
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    records.close()


def algorithm(session: Mapping[str, Any]) -> Abr:
    """The ABR algorithm of a session."""
    where, parameters = session.get("abr_source"), session.get("abr_parameters", {})
    if where:
        made: Abr = registry.made(registry.sourced(where), parameters)
    else:
        made = registry.build("abrs", session["abr"], parameters)
    return made


def sleep_until(unix_ns: int) -> None:
    """Return at that time, not before."""
    while (left_ns := unix_ns - time.time_ns()) > 0:
        time.sleep(left_ns / 1e9)


def _view(session: dict[str, Any], title: Title, records: Records, end_ns: int, seed: int) -> None:
    """The body of a session's thread; whatever happens, the session ends with a record."""
    try:
        if session["netns"] is not None:
            namespaces.enter(session["netns"])
        rng = random.Random(f"{seed}:{session['id']}")
        stub = Stub(session["resolver"], rng, port=session.get("resolver_port", 53))
        with Client(session["ca"], session["timeout_ns"], "testbed-player") as client:
            Viewer(session, title, records, end_ns, rng=rng, stub=stub, client=client).watch()
    except Exception as error:  # noqa: BLE001 - at the end of the thread; the session's record says it
        traceback.print_exc()
        detail = {"outcome": "error", "played_ns": 0, "reason": f"player: {error!r}"}
        records.write(
            "playback",
            time.time_ns(),
            session_id=session["id"],
            event="end",
            bitrate_kbps=0,
            buffer_ns=0,
            detail=detail,
        )


@dataclass(frozen=True)
class _Answer:
    """A request's response, when it began (the name's look-up included), and what was wrong, if anything."""

    start_ns: int
    response: Response
    error: str


class _EndedError(Exception):
    """The session is over before its title: `outcome` is cut or error."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Viewer:
    """One session, from the look-up of the steering service to its end."""

    def __init__(
        self,
        session: dict[str, Any],
        title: Title,
        records: Records,
        end_ns: int,
        *,
        rng: random.Random,
        stub: Stub,
        client: Client,
    ) -> None:
        self._session = session
        self._title = title
        self._records = records
        self._end_ns = end_ns
        self._rng = rng
        self._stub = stub
        self._client = client
        self._abr = algorithm(session)
        self._sources = Sources()
        self._numbers = itertools.count(1)
        self._bitrate_kbps = 0
        self._failing_since_ns: int | None = None
        self._rounds = 0  # of the whole list, failed in a row
        # Where each segment begins in its rung's file, and at the end the file's length.
        self._offsets = [
            (0, *itertools.accumulate(sizes)) for sizes in zip(*title.segment_bytes, strict=True)
        ]
        self._playback = Playback(
            time.time_ns(),
            capacity_ns=session["buffer_ns"],
            startup_ns=session["startup_ns"],
            resume_ns=session.get("resume_ns", session["startup_ns"]),
            segment_ns=title.segment_ns,
            segments=len(title.segment_bytes),
        )

    def watch(self) -> None:
        """Stream the title and record how it ended."""
        try:
            self._stream()
            outcome, reason = "completed", ""
        except _EndedError as ended:
            outcome, reason = ended.outcome, ended.reason
        at_ns = time.time_ns()
        self._report(self._playback.advance(at_ns))
        detail = {"outcome": outcome, "played_ns": self._playback.played_ns, "reason": reason}
        self._event("end", at_ns, self._playback.level_ns(at_ns), detail)

    def _stream(self) -> None:
        samples: list[Sample] = []
        rung: int | None = None
        rates = self._title.bitrates_kbps
        for index in range(len(self._title.segment_bytes)):
            ceiling_ns = self._abr.ceiling_ns(self._state(index, rung, samples))
            self._sleep_until(self._playback.room_at_ns(time.time_ns(), ceiling_ns))
            self._renew_in_time()
            state = self._state(index, rung, samples)
            last, rung = rung, self._abr.choose(state)
            self._bitrate_kbps = rates[rung]
            if last is not None and rung != last:
                before = {"index": index, "from_kbps": rates[last]}
                self._event("switch", time.time_ns(), state.buffer_ns, before)
            response, source = self._fetch(index, rung)
            got_ns = response.start_unix_ns + response.total_ns
            self._report(self._playback.receive(got_ns))
            level_ns = self._playback.level_ns(got_ns)
            samples.append(Sample(response.size, response.total_ns, rung, level_ns))
            detail = {"index": index, "bytes": response.size, "oca": source.oca}
            self._event("segment", got_ns, level_ns, detail)
        now_ns = time.time_ns()
        self._sleep_until(now_ns + self._playback.level_ns(now_ns))

    def _state(self, index: int, rung: int | None, samples: list[Sample]) -> State:
        """What the algorithm gets to know now."""
        return State(
            title=self._title,
            index=index,
            buffer_ns=self._playback.level_ns(time.time_ns()),
            buffer_max_ns=self._session["buffer_ns"],
            last_rung=rung,
            samples=samples,
        )

    def _fetch(self, index: int, rung: int) -> tuple[Response, Source]:
        """One segment, from whichever OCA sends it."""
        offsets = self._offsets[rung]
        span = (offsets[index], offsets[index + 1] - 1)
        first: tuple[Source, _Answer] | None = None  # the failure that this fetch began with
        while True:
            source = self._sources.current()
            if source is None:
                self._ask_again()
                continue
            url = f"{source.url}{self._title.bitrates_kbps[rung]}.mp4"
            answer = self._request(source.oca, url, span)
            if not answer.error:
                self._sources.worked()
                self._failing_since_ns, self._rounds = None, 0
                if first is not None and first[0].oca != source.oca:
                    self._failed_over(*first, source, answer.response)
                return answer.response, source
            first = first or (source, answer)
            self._sources.failed()
            self._suffer(answer)

    def _failed_over(self, failed: Source, failure: _Answer, source: Source, response: Response) -> None:
        byte_ns = response.start_unix_ns + response.first_byte_ns
        detail = {
            "from": failed.oca,
            "to": source.oca,
            "took_ns": byte_ns - failure.start_ns,
            "error": failure.error,
        }
        self._event("failover", byte_ns, self._playback.level_ns(byte_ns), detail)

    def _ask_again(self) -> None:
        """Ask steering for a list, backing off unless it is the first time."""
        if self._rounds:
            pause_ns = min(BACK_OFF_NS * 2 ** (self._rounds - 1), BACK_OFF_MOST_NS)
            self._sleep_until(time.time_ns() + round(pause_ns * self._rng.uniform(0.5, 1.5)))
        self._rounds += 1
        answer = self._steer()
        if answer.error:
            self._sources.keep(time.time_ns() + ASK_AGAIN_NS)
            self._suffer(answer)

    def _renew_in_time(self) -> None:
        """Renew a list past its time to live if playing can bear a request that times out."""
        now_ns = time.time_ns()
        spare_ns = self._playback.level_ns(now_ns) - self._title.segment_ns
        due = self._sources.current() is not None and self._sources.expired(now_ns)
        if due and spare_ns > self._session["timeout_ns"] and (error := self._steer().error):
            self._sources.keep(time.time_ns() + ASK_AGAIN_NS)
            print(f"{self._session['id']}: list not renewed: {error}", flush=True)

    def _steer(self) -> _Answer:
        """Ask steering for the ranked list and take it."""
        url = f"https://{self._session['steering_host']}/v1/steer?title={quote(self._title.name)}"
        answer = self._request("steering", url, None)
        if answer.error:
            return answer
        try:
            document = json.loads(answer.response.body)
            ranked = [Source(entry["oca"], entry["url"]) for entry in document["urls"]]
            until_ns = time.time_ns() + int(document["ttl_s"] * 1e9)
        except (ValueError, KeyError, TypeError) as wrong:
            return replace(answer, error=f"steering's answer is unreadable: {wrong!r}")
        if not ranked:
            return replace(answer, error="steering knows no OCA")
        self._sources.renew(ranked, until_ns)
        return answer

    def _request(self, oca: str, url: str, span: tuple[int, int] | None) -> _Answer:
        """Resolve and fetch, and record it."""
        number = f"{self._session['id']}-{next(self._numbers)}"
        start_ns, dns_ns = time.time_ns(), 0
        try:
            address, dns_ns = self._stub.resolve(urlsplit(url).hostname or "", self._end_ns)
            response = self._client.get(
                url,
                address,
                span=span,
                headers=(f"X-Request-Id: {number}",),
                keep=span is None,
                until_ns=self._end_ns,
            )
            error = response.error or _wrong(response, span)
        except ResolveError as failure:
            dns_ns, error = failure.latency_ns, str(failure)
            response = Response(
                status=0, size=0, body=b"", start_unix_ns=start_ns + dns_ns,
                connect_ns=0, tls_ns=0, first_byte_ns=0, total_ns=0, error=error,
            )  # fmt: skip
        self._records.write(
            "requests",
            start_ns,
            session_id=self._session["id"],
            client=self._session["client"],
            oca=oca,
            url=url,
            status=response.status,
            bytes=response.size,
            dns_ns=dns_ns,
            connect_ns=response.connect_ns,
            tls_ns=response.tls_ns,
            first_byte_ns=response.first_byte_ns
            and response.start_unix_ns - start_ns + response.first_byte_ns,
            total_ns=response.start_unix_ns - start_ns + response.total_ns,
            error=error,
            request_id=number,
        )
        if error == CUT or time.time_ns() >= self._end_ns:
            raise _EndedError("cut", CUT)
        return _Answer(start_ns, response, error)

    def _suffer(self, failure: _Answer) -> None:
        """A request failed: leave if nothing has worked for too long."""
        now_ns = time.time_ns()
        self._report(self._playback.advance(now_ns))
        if self._failing_since_ns is None:
            self._failing_since_ns = failure.start_ns
        waiting_ns = self._playback.waiting_since_ns
        patience_ns = self._session.get("give_up_ns", GIVE_UP_NS)
        if waiting_ns is not None and now_ns - max(waiting_ns, self._failing_since_ns) >= patience_ns:
            raise _EndedError("error", failure.error)

    def _sleep_until(self, unix_ns: int) -> None:
        sleep_until(min(unix_ns, self._end_ns))
        if unix_ns >= self._end_ns:
            raise _EndedError("cut", CUT)

    def _report(self, moments: list[Moment]) -> None:
        for moment in moments:
            if moment.event != "finish":
                self._event(moment.event, moment.unix_ns, moment.buffer_ns, {})

    def _event(self, event: str, unix_ns: int, buffer_ns: int, detail: dict[str, Any]) -> None:
        self._records.write(
            "playback",
            unix_ns,
            session_id=self._session["id"],
            event=event,
            bitrate_kbps=self._bitrate_kbps,
            buffer_ns=buffer_ns,
            detail=detail,
        )


def _wrong(response: Response, span: tuple[int, int] | None) -> str:
    """What an answer lacks of what was asked for."""
    if span is None:
        return "" if response.ok else f"HTTP {response.status}"
    if response.status != PARTIAL_CONTENT:
        return f"HTTP {response.status}"
    wanted = span[1] - span[0] + 1
    return "" if response.size == wanted else f"{response.size} bytes instead of {wanted}"
