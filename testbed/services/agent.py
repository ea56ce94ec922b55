"""An OCA's agent tells steering whether the OCA is well and which routes it learned.

`run(config)`, with

    oca, address      who it is, and where clients reach it
    titles            [name] on the box
    bird_socket       path of BIRD's control socket
    health            {"address", "port"}: the OCA is well if this accepts a connection
    resolver          address of the resolver
    ca                path of the CA's certificate
    steering_host     name (or name:port) of the steering service
    report_ns         how often
    reported          path of an empty file that is made when steering has taken a report
    seed              int, for the resolver's query ids

The first report goes out at once. What fails is logged and tried again at the next interval.
"""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testbed.daemons.birdc import BirdError, learned_routes
from testbed.services.http import Client
from testbed.services.stub import ResolveError, Stub

REPORT_TIMEOUT_NS = 5_000_000_000
HEALTH_TIMEOUT_S = 1.0


def run(config: dict[str, Any]) -> None:
    """Report until stopped."""
    stub = Stub(config["resolver"], random.Random(f"{config['seed']}:{config['oca']}"))
    with Client(config["ca"], REPORT_TIMEOUT_NS, "testbed-agent") as client:
        due_ns = time.time_ns()
        while True:
            error = report(config, stub, client)
            if error:
                print(f"{time.time_ns()} report failed: {error}", flush=True)
            else:
                Path(config["reported"]).touch()
            # At multiples of the interval, whatever a report takes.
            due_ns += config["report_ns"] * (1 + max(0, time.time_ns() - due_ns) // config["report_ns"])
            time.sleep(max(0, due_ns - time.time_ns()) / 1e9)


def report(config: dict[str, Any], stub: Stub, client: Client) -> str:
    """Send one report; what went wrong, or nothing."""
    host = config["steering_host"]
    document = observe(config)
    try:
        address, _ = stub.resolve(urlsplit(f"//{host}").hostname or "")
    except ResolveError as failure:
        return str(failure)
    response = client.post_json(f"https://{host}/v1/report", address, document)
    if response.ok:
        return ""
    return response.error or f"HTTP {response.status}: {response.body.decode(errors='replace').strip()}"


def observe(config: dict[str, Any]) -> dict[str, Any]:
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
        "titles": list(config["titles"]),
        "routes": [route.document() for route in routes],
    }


def accepts(address: str, port: int) -> bool:
    """Whether a server takes connections there."""
    try:
        socket.create_connection((address, port), timeout=HEALTH_TIMEOUT_S).close()
    except OSError:
        return False
    return True
