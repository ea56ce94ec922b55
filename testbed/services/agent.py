"""An OCA's agent tells steering how the OCA is, what it carries, and which routes and titles it has.

`run(config)`, with

    oca, address      who it is, and where clients reach it
    titles            [name] on the box
    content           the folder that has them: a title whose files are gone is not told of; may be left out
    bird_socket       path of BIRD's control socket
    health            {"address", "port"}: the OCA is well if this accepts a connection
    resolver          address of the resolver
    family            4 or 6: of the addresses that it asks for
    ca                path of the CA's certificate
    steering_host     name (or name:port) of the steering service
    report_ns         how often
    grace_ns          without a report that was taken for so long, the OCA stops serving
    alone             path of a file that is there while it does not serve (nginx looks)
    reported          path of an empty file that is made when steering has taken a report
    seed              int, for the resolver's query ids

The first report goes out at once. What fails is logged and tried again at the next interval.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testbed.daemons.birdc import BirdError, learned_routes
from testbed.services.http import Client
from testbed.services.stub import ResolveError, Stub

REPORT_TIMEOUT_NS = 5_000_000_000
HEALTH_TIMEOUT_S = 1.0
_NET = Path("/proc/thread-self/net")
_ESTABLISHED = "01"


class Grace:
    """The time for which an OCA serves without a word from the control plane; then a file says it is over."""

    def __init__(self, path: Path, grace_ns: int) -> None:
        self._path, self._grace_ns = path, grace_ns
        self._until_ns = time.time_ns() + grace_ns
        self._heard = threading.Condition()
        threading.Thread(target=self._watch, daemon=True).start()

    def heard(self) -> None:
        """The control plane has taken a report: serve, from now for as long again."""
        with self._heard:
            self._until_ns = time.time_ns() + self._grace_ns
            if self._path.exists():
                self._path.unlink()
                print(f"{time.time_ns()} serving again", flush=True)
            self._heard.notify()

    def _watch(self) -> None:
        with self._heard:
            while True:
                left_ns = self._until_ns - time.time_ns()
                if left_ns > 0:
                    self._heard.wait(left_ns / 1e9)
                    continue
                self._path.touch()
                print(f"{time.time_ns()} not serving: no control plane", flush=True)
                self._heard.wait()


class Load:
    """What an OCA carries: its clients' connections, and what it sent since it was last asked."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sent, self._at_ns = _sent(), time.time_ns()

    def document(self) -> dict[str, Any]:
        """As a report carries it."""
        sent, now_ns = _sent(), time.time_ns()
        bps = (sent - self._sent) * 8e9 / (now_ns - self._at_ns) if now_ns > self._at_ns else 0.0
        self._sent, self._at_ns = sent, now_ns
        return {"connections": _connections(self._port), "bps": round(bps)}


def run(config: dict[str, Any]) -> None:
    """Report until stopped."""
    rng = random.Random(f"{config['seed']}:{config['oca']}")
    stub = Stub(config["resolver"], rng, families=(config["family"],))
    load, grace = Load(config["health"]["port"]), Grace(Path(config["alone"]), config["grace_ns"])
    with Client(config["ca"], REPORT_TIMEOUT_NS, "testbed-agent") as client:
        due_ns = time.time_ns()
        while True:
            error = report(config, stub, client, load)
            if error:
                print(f"{time.time_ns()} report failed: {error}", flush=True)
            else:
                grace.heard()
                Path(config["reported"]).touch()
            # At multiples of the interval, whatever a report takes.
            due_ns += config["report_ns"] * (1 + max(0, time.time_ns() - due_ns) // config["report_ns"])
            time.sleep(max(0, due_ns - time.time_ns()) / 1e9)


def report(config: dict[str, Any], stub: Stub, client: Client, load: Load) -> str:
    """Send one report; what went wrong, or nothing."""
    host = config["steering_host"]
    document = observe(config, load)
    try:
        address, _ = stub.resolve(urlsplit(f"//{host}").hostname or "")
    except ResolveError as failure:
        return str(failure)
    response = client.post_json(f"https://{host}/v1/report", address, document)
    if response.ok:
        return ""
    return response.error or f"HTTP {response.status}: {response.body.decode(errors='replace').strip()}"


def observe(config: dict[str, Any], load: Load) -> dict[str, Any]:
    """The report: an OCA without BIRD has no routes, one without its server is not healthy."""
    try:
        routes = learned_routes(config["bird_socket"])
    except (OSError, BirdError) as failure:
        print(f"{time.time_ns()} no routes: {failure}", flush=True)
        routes = []
    return {
        "oca": config["oca"],
        "address": config["address"],
        "healthy": accepts(config["health"]["address"], config["health"]["port"]),
        "titles": on_the_box(config),
        "routes": [route.document() for route in routes],
        "load": load.document(),
    }


def on_the_box(config: dict[str, Any]) -> list[str]:
    """The titles that the OCA should have and whose folders are there."""
    content = config.get("content")
    return [title for title in config["titles"] if content is None or Path(content, title).is_dir()]


def accepts(address: str, port: int) -> bool:
    """Whether a server takes connections there."""
    try:
        socket.create_connection((address, port), timeout=HEALTH_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _connections(port: int) -> int:
    """The established TCP connections to a port of this namespace."""
    found = 0
    for name in ("tcp", "tcp6"):
        table = _NET / name
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *_ = line.split()
            found += state == _ESTABLISHED and local.endswith(f":{port:04X}")
    return found


def _sent() -> int:
    """Bytes that left this namespace by its interfaces (proc_net_dev in proc(5))."""
    lines = (_NET / "dev").read_text().splitlines()[2:]
    counts = (line.rpartition(":")[2].split() for line in lines if line.split(":")[0].strip() != "lo")
    return sum(int(count[8]) for count in counts)
