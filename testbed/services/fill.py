"""An OCA's fill fetches, within its windows, the titles of its manifest that are not on the box.

It asks steering's node for the manifest, and title by title for the sources: a peer of its own cluster,
then another OCA (a tier), then the origin, as steering allows. What it fetches is real HTTP over the
network, in pieces so that it keeps to its rate; the files it leaves have the right lengths and no content,
so bytes are on the wire and not on the disk. A title counts once all of its files are there.

`run(config)`, with

    oca               who it is
    titles            {name: {file: bytes}}: what any manifest may name
    content           the folder that clients are served from
    store             the folder that has every title's files
    started           path of the file that says when the scenario began, in Unix ns
    events            path of events.jsonl
    windows           [{"at_ns", "lasts_ns", "every_ns" or null}], since the scenario's start
    rate_bps          the most that it fetches at
    family, resolver, ca, steering_host, seed   as the agent has them
    retry_ns          how long it waits where no source is allowed or none works
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from testbed.services.http import CUT, Client
from testbed.services.records import Records
from testbed.services.stub import ResolveError, Stub

_ASK_NS = 5_000_000_000
_POLL_S = 0.1
_PIECE_NS, _LEAST = 250_000_000, 64 * 1024  # a piece is what the rate carries in that time, but not less
_PARTIAL = 206
S = 1_000_000_000


def room_bytes(rate_bps: int, lasts_ns: int) -> int:
    """The most bytes that a window carries; Open Connect's 1.2 Gbit/s over 12 h are 6.48 TB."""
    return rate_bps * lasts_ns // (8 * S)


@dataclass(frozen=True)
class Window:
    """When an OCA may fill: from `at_ns` for `lasts_ns`, and again every `every_ns` if that is given."""

    at_ns: int
    lasts_ns: int
    every_ns: int | None = None

    def current(self, t_ns: int) -> tuple[int, int] | None:
        """The window in force at a time, or the next one: from and until; None if there is none left."""
        at_ns = self.at_ns
        if self.every_ns is not None and t_ns > at_ns:
            at_ns += (t_ns - at_ns) // self.every_ns * self.every_ns
            if t_ns >= at_ns + self.lasts_ns:
                at_ns += self.every_ns
        return (at_ns, at_ns + self.lasts_ns) if t_ns < at_ns + self.lasts_ns else None


def following(windows: list[Window], t_ns: int) -> tuple[int, int] | None:
    """Of several windows the one in force, or else the next."""
    return min((found for window in windows if (found := window.current(t_ns))), default=None)


class Filler:
    """One OCA's fill."""

    def __init__(self, config: Mapping[str, Any], start_ns: int, client: Client, stub: Stub) -> None:
        self._config, self._start_ns = config, start_ns
        self._client, self._stub = client, stub
        self._records = Records(config["events"])
        self._number = 0
        self._since: dict[str, int] = {}  # since when a title has been wanted, in a window

    def fill(self) -> None:
        """Work through all windows."""
        windows = [Window(**each) for each in self._config["windows"]]
        while (window := following(windows, self._now_ns())) is not None:
            begins_ns, ends_ns = window
            time.sleep(max(0, begins_ns - self._now_ns()) / S)
            self._since.clear()
            while self._now_ns() < ends_ns and self._work(ends_ns):
                left_ns = ends_ns - self._now_ns()
                time.sleep(max(0, min(self._config["retry_ns"], left_ns)) / S)
            time.sleep(max(0, ends_ns - self._now_ns()) / S)

    def _now_ns(self) -> int:
        return time.time_ns() - self._start_ns

    def _work(self, ends_ns: int) -> bool:
        """Fetch what can be had now; whether something of the manifest is still missing."""
        manifest = self._ask(f"/v1/manifest?oca={quote(self._config['oca'])}")
        if manifest is None:
            return True
        content = Path(self._config["content"])
        missing = [title for title in manifest["titles"] if not (content / title).exists()]
        for title in missing:
            self._since.setdefault(title, self._now_ns())
        for title in missing:
            for source in self._sources(title, self._now_ns() - self._since[title]):
                if self._fetch(title, source, ends_ns):
                    (content / title).symlink_to(Path(self._config["store"], title))
                    break
        return bool(missing)

    def _sources(self, title: str, waited_ns: int) -> Iterator[dict[str, str]]:
        query = f"oca={quote(self._config['oca'])}&title={quote(title)}&waited_ns={waited_ns}"
        answer = self._ask(f"/v1/sources?{query}")
        yield from answer["sources"] if answer else ()

    def _fetch(self, title: str, source: dict[str, str], ends_ns: int) -> bool:
        """All files of a title from one source; whether all came before the window's end."""
        for name, size in self._config["titles"][title].items():
            left_ns = ends_ns - self._now_ns()
            if room_bytes(self._config["rate_bps"], max(0, left_ns)) < size:
                return False  # it would run over into the peak
            if not self._get(title, name, size, source, left_ns):
                return False
        return True

    def _get(self, title: str, name: str, size: int, source: dict[str, str], left_ns: int) -> bool:
        self._number += 1
        number = f"fill-{self._config['oca']}-{self._number}"
        url, start_ns, received, status, error = f"{source['url']}{name}", time.time_ns(), 0, 0, ""
        try:
            address, _ = self._stub.resolve(urlsplit(url).hostname or "")
            ends_unix_ns = start_ns + left_ns
            status, received, error = self._download(url, address, number, size, ends_unix_ns)
        except ResolveError as failure:
            error = str(failure)
        self._records.write(
            "fill", start_ns, oca=self._config["oca"], title=title, file=name, source=source["oca"],
            kind=source["kind"], request_id=number, status=status, bytes=received,
            total_ns=time.time_ns() - start_ns, error=error,
        )  # fmt: skip
        return not error

    def _download(
        self, url: str, address: str, number: str, size: int, ends_unix_ns: int
    ) -> tuple[int, int, str]:
        """Status, bytes and error of a fetch in pieces, each of which has its time at the rate."""
        rate_bps, received, status, due_ns = self._config["rate_bps"], 0, 0, time.time_ns()
        piece = max(_LEAST, room_bytes(rate_bps, _PIECE_NS))
        while received < size:
            time.sleep(max(0, due_ns - time.time_ns()) / S)
            last = min(received + piece, size) - 1
            answer = self._client.get(
                url, address, span=(received, last), headers=(f"X-Request-Id: {number}",),
                until_ns=ends_unix_ns,
            )  # fmt: skip
            status = answer.status
            due_ns = max(due_ns, answer.start_unix_ns) + answer.size * 8 * S // rate_bps
            received += answer.size
            if answer.error:
                return status, received, "the window ended" if answer.error == CUT else answer.error
            if status != _PARTIAL or received != last + 1:
                error = f"HTTP {status}" if status != _PARTIAL else f"{received} bytes instead of {last + 1}"
                return status, received, error
        time.sleep(max(0, due_ns - time.time_ns()) / S)
        return status, received, ""

    def _ask(self, path: str) -> Any:
        """What steering's node answers; None if nothing of use came."""
        host = self._config["steering_host"]
        try:
            address, _ = self._stub.resolve(host)
        except ResolveError as failure:
            print(f"{time.time_ns()} {path}: {failure}", flush=True)
            return None
        answer = self._client.get(f"https://{host}{path}", address, keep=True)
        if not answer.ok:
            print(f"{time.time_ns()} {path}: {answer.error or f'HTTP {answer.status}'}", flush=True)
            return None
        return json.loads(answer.body)


def run(config: dict[str, Any]) -> None:
    """Wait for the scenario to begin, and fill until the last window is over."""
    started = Path(config["started"])
    while not started.exists():
        time.sleep(_POLL_S)
    rng = random.Random(f"{config['seed']}:fill:{config['oca']}")
    stub = Stub(config["resolver"], rng, families=(config["family"],))
    with Client(config["ca"], _ASK_NS, "testbed-fill") as client:
        Filler(config, int(started.read_text()), client, stub).fill()
    while True:  # nobody asked it to end
        time.sleep(3600)
