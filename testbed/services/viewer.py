"""A viewer asks steering where a title is, streams it by byte ranges, and does what their script says.

A range that failed (no answer, no byte for the session's time-out, a status other than 206, a short body, or,
where the session says so, too slow) is fetched again in full, at the same bitrate, from the next OCA of the
list. When all of them have failed the viewer backs off, from 0.5 s doubling to 8 s and jittered by half, and
asks steering again; without an answer the old list stays in use. A list past its time to live is renewed
while the buffer can spare the time. A viewer who has waited `give_up_ns` while nothing worked leaves.

A live title's segments come into being one after the other from the scenario's zero on, and none is asked for
before it is whole. The viewer begins at the session's latency behind that edge; who falls more than two
segments further behind skips to where the latency is again what it should be.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

from testbed import registry
from testbed.abrs import Abr, Sample, State
from testbed.job import Session, Title
from testbed.services import pace
from testbed.services.asking import Answer, Asking
from testbed.services.http import CUT, Response
from testbed.services.playback import Moment, Playback
from testbed.services.records import Records
from testbed.services.sources import Source, Sources
from testbed.titles import check_ladder

BACK_OFF_NS = 500_000_000
BACK_OFF_MOST_NS = 8_000_000_000
ASK_AGAIN_NS = 10_000_000_000  # a list that could not be renewed is kept so long
PROBE_BYTES = 16 * 1024  # a TLS record's worth
SKIP_SEGMENTS = 2
LEFT = "the viewer left"


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


def capped(title: Title, most_kbps: int) -> Title:
    """The title as a device sees it that shows at most so many kbit/s (0: any); its lowest rung stays."""
    count = sum(rate <= most_kbps for rate in title.bitrates_kbps) if most_kbps else len(title.bitrates_kbps)
    count = max(1, count)
    return replace(
        title,
        bitrates_kbps=title.bitrates_kbps[:count],
        segment_bytes=tuple(sizes[:count] for sizes in title.segment_bytes),
    )


class ManifestError(ValueError):
    """A title's description that no player can choose from."""


class _EndedError(Exception):
    """The session is over before its title: `outcome` is cut, left or error."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class _SoughtError(Exception):
    """The viewer wants to go on elsewhere: at the segment `index`."""

    def __init__(self, index: int, event: str) -> None:
        super().__init__(event)
        self.index = index
        self.event = event


class Viewer:
    """One session, from the look-up of the steering service to its end."""

    def __init__(
        self,
        session: Session,
        title: Title,
        records: Records,
        asking: Asking,
        *,
        rng: random.Random,
        steering_host: str,
        zero_ns: int,
        end_ns: int,
    ) -> None:
        try:
            check_ladder("manifest", title.bitrates_kbps)
        except ValueError as wrong:
            raise ManifestError(str(wrong)) from None
        self._session = session
        self._title = capped(title, session.max_kbps)
        self._records = records
        self._asking = asking
        self._rng = rng
        self._steering_host = steering_host
        self._zero_ns = zero_ns
        self._abr = algorithm(asdict(session))
        self._sources = Sources()
        self._probed = not session.probe
        self._bitrate_kbps = 0
        self._failing_since_ns: int | None = None
        self._rounds = 0  # of the whole list, failed in a row
        self._behind: list[int] = []  # a live title's latency at each segment, ns
        start_ns = zero_ns + session.start_ns
        # What ends what goes on: the viewer's leaving or the scenario's end, and before that each seek.
        leaves_ns = start_ns + session.leave_ns if session.leave_ns is not None else end_ns
        self._end_ns = min(end_ns, leaves_ns)
        self._end = _EndedError("left", LEFT) if leaves_ns < end_ns else _EndedError("cut", CUT)
        self._seeks = [(start_ns + at_ns, to_ns // title.segment_ns) for at_ns, to_ns in session.seeks]
        # Where each segment begins in its rung's file, and at the end the file's length.
        self._offsets = [
            (0, *itertools.accumulate(sizes)) for sizes in zip(*self._title.segment_bytes, strict=True)
        ]
        self._playback = Playback(
            time.time_ns(),
            capacity_ns=session.buffer_ns,
            startup_ns=session.startup_ns,
            resume_ns=session.resume_ns or session.startup_ns,
            segment_ns=title.segment_ns,
            segments=len(title.segment_bytes),
            pauses=[(start_ns + at_ns, start_ns + at_ns + lasts_ns) for at_ns, lasts_ns in session.pauses],
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
        detail = {
            "outcome": outcome,
            "played_ns": self._playback.played_ns,
            "played_kbit": round(self._playback.played_kbit, 3),
            "reason": reason,
        }
        if self._behind:
            detail["latency_ns"] = sum(self._behind) // len(self._behind)
        self._event("end", at_ns, self._playback.level_ns(at_ns), detail)

    def _stream(self) -> None:
        samples: list[Sample] = []
        rung: int | None = None
        index, count = 0, len(self._title.segment_bytes)
        if self._session.live_latency_ns is not None and (index := self._live_index()):
            self._report(self._playback.seek(time.time_ns(), index))
        while True:
            try:
                if index >= count:
                    now_ns = time.time_ns()
                    self._sleep_until(self._playback.at_ns(now_ns, self._playback.level_ns(now_ns)))
                    return
                rung = self._segment(index, rung, samples)
                index += 1
            except _SoughtError as sought:
                index = min(sought.index, count - 1)
                now_ns = time.time_ns()
                left_ns = self._playback.level_ns(now_ns)
                self._report(self._playback.seek(now_ns, index))
                self._event(sought.event, now_ns, left_ns, {"index": index})

    def _segment(self, index: int, rung: int | None, samples: list[Sample]) -> int:
        """Wait for the time to ask for a segment, choose its rung and get it; the rung."""
        ceiling_ns = self._abr.ceiling_ns(self._state(index, rung, samples))
        self._sleep_until(self._playback.room_at_ns(time.time_ns(), ceiling_ns))
        if self._session.live_latency_ns is not None:
            self._keep_up(index)
        self._renew_in_time()
        state = self._state(index, rung, samples)
        last, rung = rung, self._abr.choose(state)
        rates = self._title.bitrates_kbps
        self._bitrate_kbps = rates[rung]
        if last is not None and rung != last:
            before = {"index": index, "from_kbps": rates[last]}
            self._event("switch", time.time_ns(), state.buffer_ns, before)
        response, source = self._fetch(index, rung)
        got_ns = response.start_unix_ns + response.total_ns
        self._report(self._playback.receive(got_ns, rates[rung]))
        level_ns = self._playback.level_ns(got_ns)
        samples.append(Sample(response.size, response.total_ns, rung, level_ns))
        detail = {"index": index, "bytes": response.size, "oca": source.oca}
        if self._session.live_latency_ns is not None:
            self._behind.append(got_ns - self._zero_ns - self._playback.position_ns(got_ns))
            detail["latency_ns"] = self._behind[-1]
        self._event("segment", got_ns, level_ns, detail)
        return rung

    def _state(self, index: int, rung: int | None, samples: list[Sample]) -> State:
        """What the algorithm gets to know now."""
        return State(
            title=self._title,
            index=index,
            buffer_ns=self._playback.level_ns(time.time_ns()),
            buffer_max_ns=self._session.buffer_ns,
            last_rung=rung,
            samples=samples,
        )

    # Live.

    def _live_index(self) -> int:
        """The segment that is played now by a viewer of the wanted latency."""
        assert self._session.live_latency_ns is not None
        position_ns = time.time_ns() - self._zero_ns - self._session.live_latency_ns
        last = len(self._title.segment_bytes) - 1
        return min(max(0, position_ns // self._title.segment_ns), last)

    def _keep_up(self, index: int) -> None:
        """Wait until a segment is whole; skip ahead if playing is too far behind."""
        assert self._session.live_latency_ns is not None
        segment_ns = self._title.segment_ns
        self._sleep_until(self._zero_ns + (index + 1) * segment_ns)
        now_ns = time.time_ns()
        behind_ns = now_ns - self._zero_ns - self._playback.position_ns(now_ns)
        wanted = self._live_index()
        if behind_ns > self._session.live_latency_ns + SKIP_SEGMENTS * segment_ns and wanted > index:
            raise _SoughtError(wanted, "skip")

    # Fetching.

    def _fetch(self, index: int, rung: int) -> tuple[Response, Source]:
        """One segment, from whichever OCA sends it."""
        offsets = self._offsets[rung]
        span = (offsets[index], offsets[index + 1] - 1)
        first: tuple[Source, Answer] | None = None  # the failure that this fetch began with
        slow = 0  # OCAs that were too slow: once all of the list were, slowness is no reason to leave
        while True:
            source = self._sources.current()
            if source is None:
                self._ask_again()
                continue
            url = f"{source.url}{self._title.bitrates_kbps[rung]}.mp4"
            patient = not self._session.slow_ns or slow >= len(self._sources)
            within_ns = 0 if patient else self._session.slow_ns
            level_ns = self._playback.level_ns(time.time_ns())
            answer = self._request(
                source.oca, url, span, within_ns, pace.headers(self._session, self._title, level_ns)
            )
            if not answer.error:
                self._sources.worked()
                self._failing_since_ns, self._rounds = None, 0
                if first is not None and first[0].oca != source.oca:
                    self._failed_over(*first, source, answer.response)
                return answer.response, source
            slow += answer.late
            first = first or (source, answer)
            self._sources.failed()
            self._suffer(answer)

    def _failed_over(self, failed: Source, failure: Answer, source: Source, response: Response) -> None:
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
        elif not self._probed:
            self._probed = True
            self._probe()

    def _renew_in_time(self) -> None:
        """Renew a list past its time to live if playing can bear a request that times out."""
        now_ns = time.time_ns()
        spare_ns = self._playback.level_ns(now_ns) - self._title.segment_ns
        due = self._sources.current() is not None and self._sources.expired(now_ns)
        if due and spare_ns > self._session.timeout_ns and (error := self._steer().error):
            self._sources.keep(time.time_ns() + ASK_AGAIN_NS)
            print(f"{self._session.id}: list not renewed: {error}", flush=True)

    def _steer(self) -> Answer:
        """Ask steering for the ranked list and take it."""
        url = f"https://{self._steering_host}/v1/steer?title={quote(self._title.name)}"
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

    def _probe(self) -> None:
        """Ask every OCA of the list for a little, one after the other, and take the quickest first."""
        length = min(PROBE_BYTES, self._offsets[0][-1])
        took: dict[str, int] = {}
        for source in self._sources.ranked:
            url = f"{source.url}{self._title.bitrates_kbps[0]}.mp4"
            answer = self._request(source.oca, url, (0, length - 1))
            response = answer.response
            # What a request costs once the connection is there.
            asked_ns = response.first_byte_ns - response.connect_ns - response.tls_ns
            if not answer.error:
                took[source.oca] = asked_ns
        self._sources.order(took)

    def _request(
        self,
        oca: str,
        url: str,
        span: tuple[int, int] | None,
        within_ns: int = 0,
        headers: tuple[str, ...] = (),
    ) -> Answer:
        """Ask, unless the viewer or the scenario calls it off; `within_ns` ends a request that is slow."""
        until_ns, why = self._until()
        if within_ns and time.time_ns() + within_ns < until_ns:
            slow = f"slow: not whole in {within_ns / 1e9:g} s"
            return self._asking.get(oca, url, span, time.time_ns() + within_ns, slow, headers)
        answer = self._asking.get(oca, url, span, until_ns, why, headers)
        self._called_off()
        return answer

    def _suffer(self, failure: Answer) -> None:
        """A request failed: leave if nothing has worked for too long."""
        now_ns = time.time_ns()
        self._report(self._playback.advance(now_ns))
        if self._failing_since_ns is None:
            self._failing_since_ns = failure.start_ns
        waiting_ns = self._playback.waiting_since_ns
        patience_ns = self._session.give_up_ns
        if waiting_ns is not None and now_ns - max(waiting_ns, self._failing_since_ns) >= patience_ns:
            raise _EndedError("error", failure.error)

    # Time, and what happens in it.

    def _until(self) -> tuple[int, str]:
        """When whatever goes on is called off next, and why."""
        if self._seeks and self._seeks[0][0] < self._end_ns:
            return self._seeks[0][0], "called off: the viewer seeks"
        return self._end_ns, self._end.reason

    def _called_off(self) -> None:
        """Go elsewhere, or end, if it is time."""
        if time.time_ns() < self._until()[0]:
            return
        if self._seeks and self._seeks[0][0] < self._end_ns:
            raise _SoughtError(self._seeks.pop(0)[1], "seek")
        raise self._end

    def _sleep_until(self, unix_ns: int) -> None:
        sleep_until(min(unix_ns, self._until()[0]))
        self._called_off()

    def _report(self, moments: list[Moment]) -> None:
        for moment in moments:
            if moment.event != "finish":
                self._event(moment.event, moment.unix_ns, moment.buffer_ns, {})

    def _event(self, event: str, unix_ns: int, buffer_ns: int, detail: dict[str, Any]) -> None:
        self._records.write(
            "playback",
            unix_ns,
            session_id=self._session.id,
            event=event,
            bitrate_kbps=self._bitrate_kbps,
            buffer_ns=buffer_ns,
            detail=detail,
        )
