"""Players in one process, a thread a viewer, each inside its client's network namespace.

`run(config)`, with

    events        path of events.jsonl
    seed          int; back-off is jittered from it
    t0_unix_ns    the scenario's zero
    duration_ns   the scenario's end: what still plays then has been cut
    titles        {name: Title as a dict}
    sessions      [Session as a dict, with
                     netns          descriptor of the client's network namespace; None: this one
                     steering_host  name (or name:port) of the steering service
                     and if wanted resolver_port (53)]
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from contextlib import closing
from typing import Any

from testbed import namespaces
from testbed.job import Session, Title, revive
from testbed.services.asking import Asking
from testbed.services.http import Client
from testbed.services.records import Records
from testbed.services.stub import Stub
from testbed.services.viewer import ManifestError, Viewer, sleep_until


def run(config: dict[str, Any]) -> None:
    """Start each session at its time and return when all are over."""
    records = Records(config["events"])
    titles: dict[str, Title] = {name: revive(Title, title) for name, title in config["titles"].items()}
    threads = []
    for session in sorted(config["sessions"], key=lambda session: (session["start_ns"], session["id"])):
        start_ns = config["t0_unix_ns"] + session["start_ns"]
        if session["start_ns"] >= config["duration_ns"]:
            break
        sleep_until(start_ns)
        arguments = (config, session, titles[session["title"]], records)
        thread = threading.Thread(target=_view, args=arguments, name=session["id"])
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    records.close()


def _view(config: dict[str, Any], told: dict[str, Any], title: Title, records: Records) -> None:
    """The body of a session's thread; whatever happens, the session ends with a record."""
    try:
        if told["netns"] is not None:
            namespaces.enter(told["netns"])
        names = Session.__dataclass_fields__
        session: Session = revive(Session, {name: told[name] for name in names if name in told})
        rng = random.Random(f"{config['seed']}:{session.id}")
        stub = Stub(session.resolver, rng, port=told.get("resolver_port", 53), families=session.families)
        zero_ns = config["t0_unix_ns"]
        with (
            closing(stub),
            Client(session.ca, session.timeout_ns, "testbed-player", session.http, session.tls) as client,
        ):
            asking = Asking(session, records, stub, client)
            Viewer(
                session, title, records, asking,
                rng=rng, steering_host=told["steering_host"],
                zero_ns=zero_ns, end_ns=zero_ns + config["duration_ns"],
            ).watch()  # fmt: skip
    except Exception as error:  # noqa: BLE001 - at the end of the thread; the session's record says it
        traceback.print_exc()
        reason = str(error) if isinstance(error, ManifestError) else f"player: {error!r}"
        detail = {"outcome": "error", "played_ns": 0, "reason": reason}
        records.write(
            "playback",
            time.time_ns(),
            session_id=told["id"],
            event="end",
            bitrate_kbps=0,
            buffer_ns=0,
            detail=detail,
        )
