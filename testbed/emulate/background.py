"""Background traffic runs in one process: for each client a thread at the server and one at the client.

`run(config)`, with `events`, `seed`, `t0_unix_ns` and `duration_ns` as the players have them, and
`traffic`, a list of job.Traffic as dicts whose `ends` are [server's namespace, [[client, namespace],
...]] as descriptors.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from testbed import namespaces, registry
from testbed.services.records import Records
from testbed.traffic import Flow, Traffic

FIRST_PORT = 20_000


def run(config: dict[str, Any]) -> None:
    """Start each at its time and return when all are over."""
    records = Records(config["events"])
    threads = []
    port = FIRST_PORT
    for number, told in enumerate(config["traffic"], start=1):
        made: Traffic = registry.made(registry.sourced(told["source"]), told["parameters"])
        start_ns = config["t0_unix_ns"] + told["at_ns"]
        end_ns = config["t0_unix_ns"] + told["ends_ns"]
        server_namespace, clients = told["ends"]
        for client, namespace in clients:
            seed = f"{config['seed']}:traffic:{number}:{client}"
            record = _recorder(records, number, told, client)
            flow = Flow(
                address=told["address"], port=port, start_unix_ns=start_ns, end_unix_ns=end_ns,
                rng=random.Random(seed), record=record,
            )  # fmt: skip
            port += 1
            # the server first: it listens when the client asks
            for half, where in ((made.serve, server_namespace), (made.ask, namespace)):
                threads.append(threading.Thread(target=_run, args=(half, flow, where, record)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records.close()


def _recorder(records: Records, number: int, told: dict[str, Any], client: str) -> Callable[..., None]:
    def record(unix_ns: int, **columns: Any) -> None:
        whose = {"workload": number, "kind": told["kind"], "client": client, "server": told["server"]}
        records.write("traffic", unix_ns, **whose, **columns)

    return record


def _run(half: Callable[[Flow], None], flow: Flow, namespace: int, record: Callable[..., None]) -> None:
    """The body of a thread."""
    namespaces.enter(namespace)
    server = half.__name__ == "serve"
    # a server is there a moment before anybody asks
    time.sleep(max(0, flow.start_unix_ns - time.time_ns() - (1_000_000 if server else 0)) / 1e9)
    try:
        half(flow)
    except OSError as wrong:
        # a client that has gone, or never came, is the client's to tell
        if not server:
            record(flow.start_unix_ns, bytes=0, took_ns=time.time_ns() - flow.start_unix_ns, error=str(wrong))
        elif not isinstance(wrong, (TimeoutError, ConnectionError)):
            traceback.print_exc()
