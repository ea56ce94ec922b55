"""The steering service answers a client with a ranked list of OCA URLs, over HTTPS and JSON.

POST /v1/report   an OCA's agent says {"oca", "healthy", "titles": [name], "routes": [{"prefix",
                  "as_path": [asn], "med": int or null}], "load": {"connections", "bps"}}; more is ignored
GET /v1/steer?title=NAME   {"urls": [{"oca", "url"}], "ttl_s", "decision": [why], "miss"}; the client is
                  whoever asks, by the address of its end of the connection. `miss` says why the best
                  placed OCA does not serve: "content miss", "health miss", "other miss", or nothing.
                  With an empty list comes an "error". 404: nobody has ever had that title; 503: no OCA
                  has reported yet.
GET /v1/manifest?oca=NAME  {"titles": [name]}: what that OCA is to hold, the most popular first
GET /v1/sources?oca=NAME&title=NAME&waited_ns=N   {"sources": [{"oca", "url", "kind"}]}: where it may fetch a
                  title from that it has wanted for so long; kind is peer, tier or origin
POST /v1/drain    an operator says {"oca", "draining": true or false}: it gets no new clients, or again some.
                  Those that it has go on. This outlives the process; all else is what the OCAs reported
                  since it started.

Whatever it hears and decides is a JSON line on stdout, from which `testbed steer` has it decide again.

`run(config)`, with what `testbed.services.control` needs, and

    addresses, port        where to listen, of either family (port 443)
    certificate, key       paths, PEM
    drained                path of the file that holds the names of OCAs that drain
    names                  where the DNS steers, {"ttl_s", "addresses": {oca: [address]}} (port 53 as well)
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from testbed.services.control import ControlPlane, Decision
from testbed.services.names import Names, serve

LARGEST = 64 * 1024 * 1024  # of what is posted
IDLE_S = 75.0  # nginx's keepalive_timeout


class Steering:
    """The control plane as the threads of all servers share it; it tells its log all that it hears."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._plane = ControlPlane(config)
        self._lock = threading.Lock()
        self._said: dict[str, dict[str, Any]] = {}  # the last report of each OCA that the log has in full
        _log(unix_ns=time.time_ns(), started=True)
        self._drained = Path(config["drained"]) if config.get("drained") else None
        if self._drained is not None and self._drained.exists():
            for oca in json.loads(self._drained.read_text()):
                self.drain({"oca": oca, "draining": True}, time.time_ns())

    def report(self, document: Mapping[str, Any], now_ns: int) -> None:
        """Take a report; ValueError if it is none."""
        with self._lock:
            parsed = self._plane.report(document, now_ns)
            told = dict(document)
            load = told.pop("load", None)
            if self._said.get(parsed.oca) == told:
                _log(unix_ns=now_ns, again=parsed.oca, load=load)
            else:
                self._said[parsed.oca] = told
                _log(unix_ns=now_ns, report=document)

    def drain(self, document: Mapping[str, Any], now_ns: int) -> None:
        """Have an OCA drain, or take clients again; ValueError if it is none of ours."""
        try:
            oca, draining = str(document["oca"]), bool(document["draining"])
        except (KeyError, TypeError):
            raise ValueError('write {"oca": NAME, "draining": true or false}') from None
        with self._lock:
            self._plane.drain(oca, draining=draining)
            if self._drained is not None:
                self._drained.write_text(json.dumps(sorted(self._plane.draining)))
            _log(unix_ns=now_ns, drain=oca, draining=draining)

    def steer(self, title: str, client: str, now_ns: int, mode: str = "list") -> Decision:
        """Answer a client, or in mode dns a resolver."""
        with self._lock:
            ask = self._plane.answer if mode == "list" else self._plane.steer
            decision = ask(title, client, now_ns)
            choices = [choice.document() for choice in decision.choices]
            _log(
                unix_ns=now_ns, client=client, title=title, mode=mode, status=int(decision.status),
                **decision.answer,
                choices=choices,
            )  # fmt: skip
        return decision

    def manifest(self, oca: str) -> list[str]:
        """The titles that an OCA is to hold."""
        with self._lock:
            return self._plane.manifest(oca)

    def sources(self, oca: str, title: str, waited_ns: int, now_ns: int) -> list[dict[str, str]]:
        """Where an OCA may fetch a title from."""
        with self._lock:
            found = self._plane.sources(oca, title, waited_ns, now_ns)
            named = [f"{each['kind']} {each['oca']}" for each in found]
            _log(unix_ns=now_ns, fill=oca, wants=title, waited_ns=waited_ns, sources=named)
        return found


class Server(ThreadingHTTPServer):
    """A thread for each connection; the TLS handshake is that thread's, so nobody waits for another's."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, config: Mapping[str, Any], address: str, steering: Steering) -> None:
        self.steering = steering
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, config["port"]), _Conversation)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config["certificate"], config["key"])
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind as TCP does: HTTPServer would look its own name up in the DNS."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """Say in one line what broke a connection; a client that went away is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLEOFError)):
            _log(unix_ns=time.time_ns(), peer=client_address[0], error=repr(error))


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one piece
    timeout = IDLE_S
    server: Server

    def do_GET(self) -> None:
        """Steer a client."""
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        title = asked.get("title", "")
        if parts.path in ("/v1/manifest", "/v1/sources"):
            self._tell_of_fill(parts.path, asked)
            return
        if parts.path != "/v1/steer" or not title:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "ask for /v1/steer?title=NAME"})
            return
        decision = self.server.steering.steer(title, self.client_address[0], time.time_ns())
        self._answer(decision.status, decision.answer)

    def _tell_of_fill(self, path: str, asked: Mapping[str, str]) -> None:
        now_ns = time.time_ns()
        try:
            if path == "/v1/manifest":
                self._answer(HTTPStatus.OK, {"titles": self.server.steering.manifest(asked["oca"])})
            else:
                waited_ns = int(asked.get("waited_ns", 0))
                sources = self.server.steering.sources(asked["oca"], asked["title"], waited_ns, now_ns)
                self._answer(HTTPStatus.OK, {"sources": sources})
        except (KeyError, ValueError) as wrong:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": f"{path}: {wrong}"})

    def do_POST(self) -> None:
        """Take a report, or an operator's word."""
        steering = self.server.steering
        take = {"/v1/report": steering.report, "/v1/drain": steering.drain}.get(self.path)
        size = int(self.headers.get("Content-Length", 0))
        if take is None or size > LARGEST:
            self.close_connection = True  # its body stays unread
            self._answer(HTTPStatus.NOT_FOUND, {"error": "post to /v1/report or /v1/drain"})
            return
        now_ns = time.time_ns()
        try:
            take(json.loads(self.rfile.read(size)), now_ns)
        except ValueError as wrong:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(wrong)})
            _log(unix_ns=now_ns, peer=self.client_address[0], error=str(wrong))
        else:
            self._answer(HTTPStatus.OK, {})

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: decisions are logged as JSON."""

    def _answer(self, status: HTTPStatus, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _log(**columns: Any) -> None:
    print(json.dumps(columns), flush=True)


def run(config: dict[str, Any]) -> None:
    """Serve until stopped, at every address by a thread of its own."""
    steering = Steering(config)
    if config.get("names"):
        names = Names(
            config["zone"], config["names"]["addresses"], config["names"]["ttl_s"],
            lambda title, client: steering.steer(title, client, time.time_ns(), "dns"),
        )  # fmt: skip
        for address in config["addresses"]:
            serve(names, address)
    with ExitStack() as open_servers:
        servers = [
            open_servers.enter_context(Server(config, address, steering)) for address in config["addresses"]
        ]
        threads = [
            # None: sleep until asked
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": None})
            for server in servers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
